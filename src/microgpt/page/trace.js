// The trace of one string: loss, probabilities, attention and hidden units, position by position.
// facts: what the worker says of the run; trace: its answer; position: the chosen one.

import { count, draw_cells, element, make, number, percent, table, visible } from "./charts.js";

export const END = "·"; // shows BOS, the token at both ends of a document

export const label_of = (facts, token) =>
  token === facts.alphabet.length ? END : visible(facts.alphabet[token]);
const spoken = (label) => (label === END ? "end" : label === "␣" ? "space" : label);

// The loss of each character as a bar; choose(position) is called on a click.
export function show_letters(facts, trace, position, choose) {
  const highest = Math.max(4, ...trace.losses.filter(Number.isFinite));
  element("letters").replaceChildren(
    ...trace.losses.map((loss, t) => {
      const label = label_of(facts, trace.tokens[t + 1]);
      const bar = make("i");
      bar.style.height = `${(100 * Math.min(loss, highest)) / highest}%`;
      return make(
        "button",
        {
          type: "button",
          "aria-pressed": t === position,
          "aria-label": `${spoken(label)}: loss ${number(loss, 2)} nats`,
          onclick: () => choose(t),
        },
        make("span", { className: "bar" }, bar),
        make("b", {}, make("bdi", {}, label)),
        make("small", {}, number(loss, 2)),
      );
    }),
  );
  const p = Math.exp(-trace.losses[position]);
  const label = label_of(facts, trace.tokens[position + 1]);
  const before = trace.tokens
    .slice(1, position + 1)
    .map((token) => label_of(facts, token))
    .join("");
  element("trace-words").replaceChildren(
    "The mean loss is ",
    make("b", {}, `${number(trace.loss, 3)} nats`),
    ` per token. ${before ? `After “${before}”` : "At the start"} the model gives `,
    `${label === END ? "the end" : `“${label}”`} a probability of `,
    make("b", {}, percent(p)),
    ".",
  );
}

// The most likely next tokens as bars; the text's own next token is marked and always among them.
export function show_next(facts, trace, position) {
  const row = trace.probabilities[position];
  const target = trace.tokens[position + 1];
  const ranked = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
  const top = ranked.slice(0, 9);
  if (!top.includes(target)) top[8] = target;
  element("next").className = "bars";
  element("next").replaceChildren(
    ...top.flatMap((token) => {
      const bar = make("i", { className: token === target ? "real" : "" });
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
      ["next token", "probability"],
      ranked.map((token) => [spoken(label_of(facts, token)), row[token]]),
    );
}

// One square per head: row t, column u is the weight that position t gives to position u.
export function show_attention(facts, trace, position) {
  const n = trace.losses.length;
  const size = Math.max(2, Math.min(20, Math.floor(150 / n)));
  const read = trace.tokens.slice(0, n).map((token) => label_of(facts, token));
  element("attention").replaceChildren(
    ...trace.attention.flatMap((heads, l) =>
      heads.map((rows, h) => {
        const most = rows[position].indexOf(Math.max(...rows[position]));
        const canvas = make("canvas", {
          role: "img",
          "aria-label": `Layer ${l}, head ${h}: “${read[position]}” looks most at position ${most}`,
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

// The hidden units of each layer's perceptron: brighter is more active.
export function show_cells(facts, trace, position) {
  const highest = Math.max(1e-9, ...trace.hidden.flat(2));
  const active = trace.hidden.map((layer) => layer[position].filter((h) => h > 0).length);
  element("cells-title").textContent =
    `Hidden units of the multi-layer perceptron: ${active.map(count).join(" + ")} of ` +
    `${count(trace.hidden.length * 4 * facts.config.n_embd)} are active here`;
  element("cells").replaceChildren(
    ...trace.hidden.map((layer, l) => {
      const canvas = make("canvas", {
        role: "img",
        "aria-label": `Layer ${l}: ${active[l]} units active`,
      });
      const columns = Math.min(32, 4 * facts.config.n_embd);
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
      ["unit", ...trace.hidden.map((_, l) => `layer ${l}`)],
      trace.hidden[0][position].map((_, i) => [
        i,
        ...trace.hidden.map((layer) => number(layer[position][i])),
      ]),
    );
}
