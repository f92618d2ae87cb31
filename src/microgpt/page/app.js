// The page's state and wiring: what the reader changes goes to the worker, what comes back is shown.
// All of it stands in window.microgpt, so that tests read numbers instead of pictures.

import {
  matrix_table,
  show_back_words,
  show_graph,
  show_matrices,
  show_number,
} from "./backward.js";
import { count, draw_loss, element, make, mean_at, number, table, visible } from "./charts.js";
import { watch_source } from "./source.js";
import {
  END,
  label_of,
  show_attention,
  show_cells,
  show_letters,
  show_next,
  show_samples,
} from "./views.js";

const FIELDS = {
  // name -> [words, lowest, highest, default]
  n_layer: ["Layers", 1, 8, 1],
  n_embd: ["Width", 1, 256, 16],
  n_head: ["Heads", 1, 64, 4],
  block_size: ["Longest string", 1, 512, 16],
  num_steps: ["Steps", 1, 100000, 1000],
  batch_size: ["Strings a step", 1, 256, 1],
  learning_rate: ["Learning rate", 1e-6, 10, 0.01],
  seed: ["Seed", 0, 9e15, 42],
};
const { sources } = window.microgpt;
const state = {
  facts: null,
  losses: [],
  lines: {},
  samples: [],
  trace: null,
  view: null,
  check: null,
  timing: null,
  busy: true,
  position: 0,
  mode: "parameters",
  picked: null,
};
window.microgpt = state;
const tables = {}; // name -> function that makes the table behind a chart

// ---- the worker, made of texts that boot.js unpacked ----

const data = JSON.parse(element("data").textContent);

// A classic worker, because module workers do not start from file://. The edition gets a scope of its own, as
// its names are also the engine's, and leaves out its last part, which runs it as a script in node.
function start_worker() {
  const text = sources.javascript.replace(/^export /gm, "").split("\nif (globalThis.process")[0];
  const names = [...sources.javascript.matchAll(/^export (?:const|class|function) (\w+)/gm)]
    .map((match) => match[1])
    .join();
  const edition = `"use strict";\nconst {${names}} = (() => {${text}\nreturn {${names}} })();\n`;
  return new Worker(
    URL.createObjectURL(new Blob([edition, sources.worker], { type: "text/javascript" })),
  );
}

const worker = start_worker(),
  waiting = new Map();
let messages = 0,
  run = 0,
  frame_wanted = 0;

function ask(kind, argument) {
  return new Promise((resolve, reject) => {
    waiting.set(++messages, { resolve, reject });
    worker.postMessage({ id: messages, kind, argument });
  });
}

worker.onerror = (event) =>
  status(`The worker failed: ${event.message ?? "it could not start"}`, true);
worker.onmessage = ({ data: message }) => {
  if (message.kind === "started") return begin(message.facts);
  if (message.kind === "progress") return grow(message);
  const { resolve, reject } = waiting.get(message.id);
  waiting.delete(message.id);
  if (message.error) reject(new Error(message.error));
  else resolve(message.result);
};

// ---- training ----

function status(words, bad = false) {
  element("status").textContent = words;
  element("status").classList.toggle("bad", bad);
}

const settings_of = () =>
  Object.fromEntries(Object.keys(FIELDS).map((name) => [name, Number(element(name).value)]));

async function train(model = null) {
  const mine = ++run,
    text =
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
    status(
      model
        ? `A trained model of ${count(facts.parameters)} numbers, as it was saved.`
        : `Learned ${count(state.losses.length)} steps in ${number(timing.training_ms / 1000, 2)} s: ${count(facts.parameters)} numbers, from ${count(facts.documents)} strings.`,
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
    " strings, ",
    make("b", {}, count(facts.alphabet.length)),
    " different characters: ",
    make("bdi", {}, visible(letters)),
    facts.cut
      ? `. ${count(facts.cut)} do not fit into ${facts.config.block_size} and are cut.`
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

function show_training() {
  const { losses, facts, lines, step } = state,
    box = element("loss"),
    { num_steps } = facts.config;
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
  const mean = losses.length ? mean_at(losses, step) : 0,
    choices = facts.alphabet.length + 1;
  element("words").replaceChildren(
    ...(facts.given
      ? ["This model came trained. Change a setting, and the page trains its own on this list."]
      : !losses.length
        ? ["…"]
        : step === 0
          ? [
              `Before the first step it knows nothing: every letter is one of `,
              make("b", {}, String(choices)),
              ".",
            ]
          : [
              `After step ${count(step)} the loss is `,
              make("b", {}, `${number(mean, 2)} nats`),
              ": as good as choosing among ",
              make("b", {}, number(Math.exp(mean), 1)),
              ` letters. Chance has ${choices}.`,
            ]),
  );
  tables.loss = () =>
    table(
      ["step", "loss", "mean of 100"],
      losses.map((loss, i) => [i + 1, number(loss), number(mean_at(losses, i + 1))]),
    );
  refresh("loss");
}

// ---- looking: everything below the curve, at the step chosen ----

async function move(step, mine = run) {
  const view = await ask("look", step);
  if (mine !== run) return;
  Object.assign(state, { step, view: { ...view, made: !state.facts.given }, check: null });
  show_training();
  await sample();
  await read();
  show_back();
}

async function sample() {
  const value = (id) => Number(element(id).value),
    text = element("coins").value.trim(),
    top_k = value("top_k");
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

async function read() {
  const box = element("text"),
    { facts } = state;
  if (!box.value && !box.dataset.typed) box.value = state.samples[0]?.text ?? "";
  let trace = await ask("trace", box.value);
  if (trace.strange && !box.dataset.typed) {
    // a word of the last list: take one of this list's
    box.value = state.samples[0]?.text ?? "";
    trace = await ask("trace", box.value);
  }
  if (trace.strange)
    return element("trace-words").replaceChildren(
      `The list has no ${[...new Set(trace.strange)].map((c) => `“${visible(c)}”`).join(", ")}, so the model cannot read this.`,
    );
  state.trace = trace;
  state.position = Math.min(state.position, trace.losses.length - 1);
  const positions = trace.losses.map((_, t) =>
    make(
      "option",
      { value: t },
      `${t}: ${trace.tokens
        .slice(0, t + 1)
        .map((token) => label_of(facts, token))
        .join("")}`,
    ),
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
    `In “${visible(trace.text)}”, at step ${count(state.step)}: the sum of products behind a logit, node by node, down to the parameters.`;
  element("graph").replaceChildren();
  show_trace();
}

function show_trace() {
  const { facts, trace, position } = state;
  show_letters(facts, trace, position, (t) => {
    state.position = t;
    show_trace();
    element("letters").children[t].focus();
  });
  element("next-title").textContent = `What comes next at position ${position}`;
  tables.next = show_next(facts, trace, position);
  tables.attention = show_attention(facts, trace, position);
  tables.cells = show_cells(facts, trace, position);
  element("graph-position").value = position;
  element("graph-token").value = trace.tokens[position + 1];
  ["next", "attention", "cells"].forEach(refresh);
}

function show_back() {
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
  if (state.busy) return; // the numbers in view are no longer the worker's
  state.picked = { name, row, column };
  if (redraw) show_matrices(state.facts, state.view, state.mode, state.picked, pick);
  const { view, facts } = state,
    index = facts.offsets[name] + row * facts.sizes[name][1] + column,
    check = await ask("check", index);
  if (view !== state.view) return;
  state.check = { index, ...check };
  show_number(view, facts, state.picked, check);
  refresh("matrix");
}

async function open_graph() {
  const position = Number(element("graph-position").value),
    token = Number(element("graph-token").value);
  const root = await ask("graph", { text: state.trace.text, position, token });
  if (!root)
    return element("graph").replaceChildren(
      make(
        "p",
        { className: "quiet" },
        "This graph has too many nodes to open here: choose an earlier position, or a smaller model.",
      ),
    );
  show_graph(root, (path) => ask("node", path));
}

// ---- tables behind the charts, made when opened ----

function refresh(name) {
  const box = document.querySelector(`[data-table=${name}]`);
  box.querySelector(":scope > :not(summary)")?.remove();
  if (box.open && tables[name]) box.append(tables[name]());
}

// ---- wiring ----

function latest(action) {
  // while one call runs, remember only that another is wanted
  let running = false,
    again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      try {
        await action();
      } catch (error) {
        status(error.message, true);
      }
    }
    running = false;
  };
}

function own_list(text) {
  if (element("own").value !== text) element("own").value = text; // or the caret would jump
  element("list").value = "own";
  element("text").value = "";
  delete element("text").dataset.typed;
  train();
}

async function take(file) {
  try {
    own_list(new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()));
  } catch {
    status(`“${file.name}” is not UTF-8 text.`, true);
  }
}

function wire() {
  const list = element("list");
  list.append(
    ...data.lists.map(({ name }, i) => make("option", { value: i }, name)),
    make("option", { value: "own" }, "your own list"),
  );
  list.onchange = () => (list.value === "own" ? element("own").focus() : own_list_off());
  const own_list_off = () => {
    Object.assign(element("own"), { value: "" });
    element("text").value = "";
    delete element("text").dataset.typed;
    train();
  };
  let timer;
  element("own").oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(() => own_list(element("own").value), 350);
  };
  element("file").onchange = ({ target }) => target.files[0] && take(target.files[0]);
  element("fields").append(
    ...Object.entries(FIELDS).map(([name, [words, min, max, value]]) =>
      make(
        "label",
        {},
        `${words} `,
        make("code", {}, name),
        make("input", {
          type: "number",
          id: name,
          min,
          max,
          step: "any",
          value,
          onchange: () => train(),
        }),
      ),
    ),
  );
  const move_here = latest(() => move(Number(element("step").value)));
  element("step").oninput = () => !state.busy && !state.facts.given && move_here();
  for (const id of ["temperature", "top_k", "coins", "hold"]) element(id).oninput = latest(sample);
  element("again").onclick = () => {
    element("coins").value = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
    sample();
  };
  const read_here = latest(read);
  element("text").oninput = () => {
    element("text").dataset.typed = "yes";
    read_here();
  };
  for (const radio of document.querySelectorAll("[name=mode]"))
    radio.onchange = () => {
      state.mode = radio.value;
      show_back();
    };
  element("graph-open").onclick = () => open_graph().catch((error) => status(error.message, true));
  for (const box of document.querySelectorAll("[data-table]"))
    box.ontoggle = () => refresh(box.dataset.table);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("drop");
  });
  addEventListener("dragleave", () => document.body.classList.remove("drop"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("drop");
    const [file] = event.dataTransfer.files;
    if (file) take(file);
    else if (event.dataTransfer.getData("text/plain"))
      own_list(event.dataTransfer.getData("text/plain"));
  });
  const redraw = () => {
    if (!state.busy) {
      show_training();
      show_trace();
      show_back();
    }
  };
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      redraw();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").onchange = redraw;
}

function given_model() {
  // typed arrays from base64, little-endian as everywhere this runs
  if (!data.model) return null;
  const numbers = (text) =>
    new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const { parameters, m, v, ...rest } = data.model;
  for (const name of Object.keys(FIELDS)) element(name).value = rest.config[name];
  return { ...rest, parameters: numbers(parameters), m: numbers(m), v: numbers(v) };
}

wire();
watch_source(sources);
train(given_model());
