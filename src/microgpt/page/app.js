// The page's state, and what changes it: training, moving to a step, sampling, tracing, and
// choosing a parameter. Each action asks the worker and shows its answer. The state is in
// window.microgpt, so that tests read numbers instead of pictures.

import { count, draw_loss, element, make, mean_at, number, table, visible } from "./charts.js";
import { connect } from "./client.js";
import {
  matrix_table,
  show_back_words,
  show_graph,
  show_matrices,
  show_number,
} from "./parameters.js";
import { show_samples } from "./samples.js";
import { FIELDS } from "./settings.js";
import { END, label_of, show_attention, show_cells, show_letters, show_next } from "./trace.js";

export const { sources } = window.microgpt;
export const data = JSON.parse(element("data").textContent);
export const state = {
  facts: null, // what the worker says of the run: { alphabet, config, sizes, offsets, ... }
  losses: [], // one per step, in nats per token
  lines: {}, // losses to compare with: name -> nats per token
  samples: [], // { text, known, start }
  trace: null, // one string, position by position
  view: null, // parameters, gradients and updates at the chosen step
  check: null, // the chosen parameter's gradient by finite differences
  timing: null,
  busy: true, // until a run has ended and its numbers are shown
  position: 0, // in the traced string
  mode: "parameters", // which numbers of the view the pixels show
  picked: null, // the chosen parameter: { name, row, column }
};
window.microgpt = state;
const tables = {}; // name -> function that makes the table behind a chart
let run = 0; // runs started so far; an answer to an earlier run is dropped
let frame_wanted = 0;
const ask = connect(sources, {
  started: begin,
  progress: grow,
  failed: (words) => status(words, true),
});

// ---- Training ----

export function status(words, bad = false) {
  element("status").textContent = words;
  element("status").classList.toggle("bad", bad);
}

const settings_of = () =>
  Object.fromEntries(Object.keys(FIELDS).map((name) => [name, Number(element(name).value)]));

export async function train(model = null) {
  const mine = ++run;
  const text =
    element("list").value === "own"
      ? element("own").value
      : data.lists[Number(element("list").value)].text;
  Object.assign(state, { busy: true, lines: {}, check: null });
  status("Training…");
  try {
    const timing = await ask("start", {
      text: model && !model.has_list ? "" : text,
      settings: settings_of(),
      model,
    });
    if (mine !== run) return;
    state.timing = timing;
    const { facts } = state;
    const seconds = timing.training_ms / 1000;
    status(
      model
        ? `This model of ${count(facts.parameters)} parameters was trained before and saved.`
        : `Trained ${count(state.losses.length)} steps in ${number(seconds, 2)} s: ` +
            `${count(facts.parameters)} parameters, ${count(facts.documents)} documents.`,
    );
    await move(facts.config.num_steps, mine);
    if (mine !== run) return;
    state.busy = false;
    if (state.picked) pick(state.picked.name, state.picked.row, state.picked.column, false);
    if (facts.documents) state.lines = await ask("baselines");
    if (mine === run) show_training();
  } catch (error) {
    if (mine === run) status(error.message, true);
  }
}

function begin(facts) {
  Object.assign(state, { facts, losses: [], step: 0 });
  state.picked =
    state.picked && facts.sizes[state.picked.name] ? { ...state.picked, row: 0, column: 0 } : null;
  state.lines = { random: Math.log(facts.alphabet.length + 1) };
  element("graph").replaceChildren();
  element("step").max = facts.config.num_steps;
  element("top_k").max = facts.alphabet.length;
  const letters =
    facts.alphabet.length > 60
      ? `${facts.alphabet.slice(0, 60).join("")}…`
      : facts.alphabet.join("");
  element("facts").replaceChildren(
    make("b", {}, count(facts.documents)),
    " documents, ",
    make("b", {}, count(facts.alphabet.length)),
    " different characters: ",
    make("bdi", {}, visible(letters)),
    facts.cut
      ? `. ${count(facts.cut)} do not fit into ${facts.config.block_size} tokens and are cut.`
      : ".",
  );
}

function grow({ losses }) {
  for (const loss of losses) state.losses.push(loss);
  state.step = state.losses.length;
  if (!frame_wanted)
    frame_wanted = requestAnimationFrame(() => {
      frame_wanted = 0;
      show_training();
    });
}

export function show_training() {
  const { losses, facts, lines, step } = state;
  const box = element("loss");
  const { num_steps } = facts.config;
  const named = Object.fromEntries(
    Object.entries(lines).map(([name, loss]) => [
      { uniform: "random", "2-gram": "bigram" }[name] ?? name,
      loss,
    ]),
  );
  element("course").hidden = facts.given;
  draw_loss(box, { losses, num_steps, lines: named, step });
  Object.assign(element("step"), { value: step });
  element("step").setAttribute("aria-valuetext", `step ${step}`);
  element("step-now").textContent = `${count(step)} of ${count(num_steps)}`;
  const mean = losses.length ? mean_at(losses, step) : 0;
  const choices = facts.alphabet.length + 1;
  element("words").replaceChildren(
    ...(facts.given
      ? ["This model is already trained. Change a setting to train a new one on this dataset."]
      : !losses.length
        ? ["…"]
        : step === 0
          ? [
              "Before the first step the model knows nothing. It chooses each character among ",
              make("b", {}, String(choices)),
              ".",
            ]
          : [
              `After step ${count(step)} the loss is `,
              make("b", {}, `${number(mean, 2)} nats`),
              " per token. That is like choosing among ",
              make("b", {}, number(Math.exp(mean), 1)),
              ` characters at random. An untrained model chooses among ${choices}.`,
            ]),
  );
  tables.loss = () =>
    table(
      ["step", "loss", "mean of 100 steps"],
      losses.map((loss, i) => [i + 1, number(loss), number(mean_at(losses, i + 1))]),
    );
  refresh("loss");
}

// ---- Everything below the curve, at the chosen step ----

export async function move(step, mine = run) {
  const view = await ask("look", step);
  if (mine !== run) return;
  Object.assign(state, { step, view: { ...view, made: !state.facts.given }, check: null });
  show_training();
  await sample();
  await read();
  show_back();
}

export async function sample() {
  const value = (id) => Number(element(id).value);
  const text = element("coins").value.trim();
  const top_k = value("top_k");
  const seed = /^\d{1,19}$/.test(text) ? BigInt(text).toString() : "";
  element("temperature-now").textContent = number(value("temperature"), 2);
  element("top_k-now").textContent = top_k ? String(top_k) : "all";
  state.samples = await ask("samples", {
    seed,
    temperature: value("temperature"),
    top_k,
    hold: element("hold").checked,
  });
  show_samples(state.samples, state.facts.documents > 0, (chosen) => {
    element("text").value = chosen;
    read();
  });
}

export async function read() {
  const box = element("text");
  const { facts } = state;
  if (!box.value && !box.dataset.typed) box.value = state.samples[0]?.text ?? "";
  let trace = await ask("trace", box.value);
  if (trace.strange && !box.dataset.typed) {
    // The text is from the last dataset: take a sample of this one.
    box.value = state.samples[0]?.text ?? "";
    trace = await ask("trace", box.value);
  }
  if (trace.strange) {
    const strange = [...new Set(trace.strange)].map((c) => `“${visible(c)}”`).join(", ");
    return element("trace-words").replaceChildren(
      `${strange} does not appear in the dataset, so the model cannot read this text.`,
    );
  }
  state.trace = trace;
  state.position = Math.min(state.position, trace.losses.length - 1);
  const labels = trace.tokens.map((token) => label_of(facts, token));
  const positions = trace.losses.map((_, t) =>
    make("option", { value: t }, `${t}: ${labels.slice(0, t + 1).join("")}`),
  );
  element("graph-position").replaceChildren(...positions);
  element("graph-token").replaceChildren(
    ...Array.from({ length: facts.alphabet.length + 1 }, (_, token) =>
      make(
        "option",
        { value: token },
        label_of(facts, token) === END ? "· (end)" : label_of(facts, token),
      ),
    ),
  );
  element("graph-words").textContent =
    `How “${visible(trace.text)}” gives a logit at step ${count(state.step)}: ` +
    "open a node to see its inputs, down to the parameters.";
  element("graph").replaceChildren();
  show_trace();
}

export function show_trace() {
  const { facts, trace, position } = state;
  show_letters(facts, trace, position, (t) => {
    state.position = t;
    show_trace();
    element("letters").children[t].focus();
  });
  element("next-title").textContent = `Next token at position ${position}`;
  tables.next = show_next(facts, trace, position);
  tables.attention = show_attention(facts, trace, position);
  tables.cells = show_cells(facts, trace, position);
  element("graph-position").value = position;
  element("graph-token").value = trace.tokens[position + 1];
  ["next", "attention", "cells"].forEach(refresh);
}

export function show_back() {
  const { facts, view, mode, picked } = state;
  show_back_words(view, mode, show_matrices(facts, view, mode, picked, pick));
  tables.matrix = () =>
    state.picked
      ? matrix_table(view, facts, mode, state.picked.name)
      : make("p", { className: "quiet" }, "Choose a pixel first.");
  refresh("matrix");
  if (picked) pick(picked.name, picked.row, picked.column, false);
}

async function pick(name, row, column, redraw = true) {
  if (state.busy) return; // the numbers shown are no longer the worker's
  state.picked = { name, row, column };
  if (redraw) show_matrices(state.facts, state.view, state.mode, state.picked, pick);
  const { view, facts } = state;
  const index = facts.offsets[name] + row * facts.sizes[name][1] + column;
  const check = await ask("check", index);
  if (view !== state.view) return;
  state.check = { index, ...check };
  show_number(view, facts, state.picked, check);
  refresh("matrix");
}

export async function open_graph() {
  const position = Number(element("graph-position").value);
  const token = Number(element("graph-token").value);
  const root = await ask("graph", { text: state.trace.text, position, token });
  if (!root)
    return element("graph").replaceChildren(
      make(
        "p",
        { className: "quiet" },
        "This graph has too many nodes. Choose an earlier position or a smaller model.",
      ),
    );
  show_graph(root, (path) => ask("node", path));
}

// ---- Tables behind the charts, made when they are opened ----

export function refresh(name) {
  const box = document.querySelector(`[data-table=${name}]`);
  box.querySelector(":scope > :not(summary)")?.remove();
  if (box.open && tables[name]) box.append(tables[name]());
}
