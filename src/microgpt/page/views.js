// The samples and the trace of one string: results of the worker made visible. Asks nothing itself.

import { count, draw_cells, element, make, number, percent, table, visible } from "./charts.js";

export const END = "·"; // the sign of BOS, the mark at both ends

export const label_of = (facts, token) =>
  token === facts.alphabet.length ? END : visible(facts.alphabet[token]);
const spoken = (label) => (label === END ? "end" : label === "␣" ? "space" : label);

export function show_samples(samples, has_list, choose) {
  element("made").replaceChildren(
    ...samples.map(({ text, known }) => {
      const shown = visible(text) || "(empty)";
      const button = make(
        "button",
        { type: "button", title: "Read it below", onclick: () => choose(text) },
        make("bdi", {}, shown),
      );
      if (known) button.setAttribute("aria-label", `${shown}, in the list`);
      return make("li", {}, Object.assign(button, { className: known ? "known" : "" }));
    }),
  );
  const known = samples.filter((one) => one.known).length;
  element("novelty").textContent = !has_list
    ? "The list is not part of this file, so nothing is marked as old."
    : known
      ? `${known} of ${samples.length} stand in the list, marked ●. The others are new.`
      : `None of these ${samples.length} stands in the list.`;
}

// Surprise of each letter, and the choice of a position.
export function show_letters(facts, trace, position, choose) {
  const highest = Math.max(4, ...trace.losses.filter(Number.isFinite));
  element("letters").replaceChildren(
    ...trace.losses.map((loss, t) => {
      const label = label_of(facts, trace.tokens[t + 1]),
        bar = make("i");
      bar.style.height = `${(100 * Math.min(loss, highest)) / highest}%`;
      return make(
        "button",
        {
          type: "button",
          "aria-pressed": t === position,
          "aria-label": `${spoken(label)}: surprise ${number(loss, 2)} nats`,
          onclick: () => choose(t),
        },
        make("span", { className: "bar" }, bar),
        make("b", {}, make("bdi", {}, label)),
        make("small", {}, number(loss, 2)),
      );
    }),
  );
  const p = Math.exp(-trace.losses[position]),
    label = label_of(facts, trace.tokens[position + 1]);
  const before = trace.tokens
    .slice(1, position + 1)
    .map((token) => label_of(facts, token))
    .join("");
  element("trace-words").replaceChildren(
    "Mean surprise ",
    make("b", {}, `${number(trace.loss, 3)} nats`),
    ` a letter. ${before ? `After “${before}”` : "At the start"} the model gives ${label === END ? "the end" : `“${label}”`} `,
    make("b", {}, percent(p)),
    ".",
  );
}

export function show_next(facts, trace, position) {
  const row = trace.probabilities[position],
    real = trace.tokens[position + 1];
  const ranked = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b),
    top = ranked.slice(0, 9);
  if (!top.includes(real)) top[8] = real;
  element("next").className = "bars";
  element("next").replaceChildren(
    ...top.flatMap((token) => {
      const bar = make("i", { className: token === real ? "real" : "" });
      bar.style.width = `${(100 * row[token]) / row[ranked[0]]}%`;
      return [
        make("b", {}, label_of(facts, token)),
        make("div", {}, bar),
        make("span", {}, percent(row[token])),
      ];
    }),
  );
  return () =>
    table(
      ["next", "probability"],
      ranked.map((token) => [spoken(label_of(facts, token)), row[token]]),
    );
}

export function show_attention(facts, trace, position) {
  const n = trace.losses.length,
    size = Math.max(2, Math.min(20, Math.floor(150 / n)));
  const read = trace.tokens.slice(0, n).map((token) => label_of(facts, token));
  element("attention").replaceChildren(
    ...trace.attention.flatMap((heads, l) =>
      heads.map((rows, h) => {
        const canvas = make("canvas", {
          role: "img",
          "aria-label": `Layer ${l}, head ${h}: at “${read[position]}” it looks most at position ${rows[position].indexOf(Math.max(...rows[position]))}`,
        });
        draw_cells(canvas, n, n, size, (t, u) =>
          u > t ? undefined : rows[t][u] * (t === position ? 1 : 0.45),
        );
        return make(
          "div",
          {},
          make(
            "span",
            { className: "tag" },
            facts.config.n_layer > 1 ? `layer ${l} head ${h}` : `head ${h}`,
          ),
          canvas,
        );
      }),
    ),
  );
  return () =>
    table(
      ["layer", "head", ...read.slice(0, position + 1).map((label, u) => `${u} ${label}`)],
      trace.attention.flatMap((heads, l) =>
        heads.map((rows, h) => [l, h, ...rows[position].map((w) => number(w))]),
      ),
    );
}

export function show_cells(facts, trace, position) {
  const highest = Math.max(1e-9, ...trace.hidden.flat(2));
  const lit = trace.hidden.map((layer) => layer[position].filter((h) => h > 0).length);
  element("cells-title").textContent =
    `Cells of the multi-layer perceptron: ${lit.map(count).join(" + ")} of ${count(trace.hidden.length * 4 * facts.config.n_embd)} are lit here`;
  element("cells").replaceChildren(
    ...trace.hidden.map((layer, l) => {
      const canvas = make("canvas", {
          role: "img",
          "aria-label": `Layer ${l}: ${lit[l]} cells lit`,
        }),
        columns = Math.min(32, 4 * facts.config.n_embd);
      draw_cells(
        canvas,
        Math.ceil((4 * facts.config.n_embd) / columns),
        columns,
        16,
        (r, c) => (layer[position][r * columns + c] ?? 0) / highest,
      );
      return canvas;
    }),
  );
  return () =>
    table(
      ["cell", ...trace.hidden.map((_, l) => `layer ${l}`)],
      trace.hidden[0][position].map((_, i) => [
        i,
        ...trace.hidden.map((layer) => number(layer[position][i])),
      ]),
    );
}
