// The page's controls: connects each input, button and drop with an action. The last script to run.

import {
  data,
  move,
  open_graph,
  read,
  refresh,
  sample,
  show_back,
  show_trace,
  show_training,
  sources,
  state,
  status,
  train,
} from "./app.js";
import { element, make } from "./charts.js";
import { FIELDS } from "./settings.js";
import { watch_source } from "./source.js";

// The action as an event handler: while one call runs, it only remembers that another is wanted.
function latest(action) {
  let running = false;
  let again = false;
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

// Train on the text that was typed, dropped or read from a file.
function train_on(text) {
  if (element("own").value !== text) element("own").value = text; // or the caret would jump
  element("list").value = "own";
  forget_text();
  train();
}

// The traced text belongs to the last dataset: show a sample of the new one instead.
function forget_text() {
  element("text").value = "";
  delete element("text").dataset.typed;
}

async function train_on_file(file) {
  try {
    train_on(new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()));
  } catch {
    status(`“${file.name}” is not UTF-8 text. Save it as UTF-8 and open it again.`, true);
  }
}

// Choosing what to train on: a built-in list, typed text, a file, or something dropped on the page.
function wire_dataset() {
  const list = element("list");
  list.append(
    ...data.lists.map(({ name }, i) => make("option", { value: i }, name)),
    make("option", { value: "own" }, "your own text"),
  );
  list.onchange = () => {
    if (list.value === "own") return element("own").focus();
    element("own").value = "";
    forget_text();
    train();
  };
  let timer;
  element("own").oninput = () => {
    clearTimeout(timer);
    timer = setTimeout(() => train_on(element("own").value), 350);
  };
  element("file").onchange = ({ target }) => target.files[0] && train_on_file(target.files[0]);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("drop");
  });
  addEventListener("dragleave", () => document.body.classList.remove("drop"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("drop");
    const [file] = event.dataTransfer.files;
    if (file) train_on_file(file);
    else if (event.dataTransfer.getData("text/plain"))
      train_on(event.dataTransfer.getData("text/plain"));
  });
}

function wire_settings() {
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
}

function wire_actions() {
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
}

// Charts are drawn again when the width or the color theme changes.
function wire_redraw() {
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

// The model in the page's data, or null. Its arrays are base64 of little-endian float64.
function given_model() {
  if (!data.model) return null;
  const numbers = (text) =>
    new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const { parameters, m, v, ...rest } = data.model;
  for (const name of Object.keys(FIELDS)) element(name).value = rest.config[name];
  return { ...rest, parameters: numbers(parameters), m: numbers(m), v: numbers(v) };
}

wire_dataset();
wire_settings();
wire_actions();
wire_redraw();
watch_source(sources);
train(given_model());
