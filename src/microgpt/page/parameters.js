// Every parameter as a pixel, one parameter's numbers, and the graph of scalars behind one logit.

import { count, draw_cells, element, make, number, table } from "./charts.js";

const MODES = { parameters: "value", gradients: "gradient", updates: "update" };
const exact = (value) => String(value).replace("-", "−").replace("e−", "e-");

// One canvas per matrix. choose(name, row, column) is called when a pointer or an arrow key chooses
// a parameter. Returns the size of number that gets the full color.
export function show_matrices(facts, view, mode, picked, choose) {
  const numbers = view[mode];
  const strongest = strong(numbers);
  const old = Object.fromEntries(
    [...document.querySelectorAll("#matrices [data-name]")].map((node) => [
      node.dataset.shape,
      node,
    ]),
  );
  const nodes = Object.entries(facts.sizes).map(([name, [rows, columns]]) => {
    const sideways = rows > 2 * columns;
    const height = sideways ? columns : rows;
    const width = sideways ? rows : columns; // a tall matrix lies on its side
    const size = Math.max(1, Math.min(8, Math.floor((width > 2 * height ? 560 : 160) / width)));
    const offset = facts.offsets[name];
    const shape = [name, rows, columns, facts.config.n_layer > 1].join();
    const node = old[shape] ?? frame(name, rows, columns, sideways, shape);
    const canvas = node.querySelector("canvas");
    const pick = node.querySelector(".pick");
    draw_cells(
      canvas,
      height,
      width,
      size,
      (r, c) => numbers[offset + (sideways ? c * columns + r : r * columns + c)] / strongest,
    );
    const mine = picked?.name === name;
    pick.hidden = !mine;
    if (mine) {
      const [y, x] = sideways ? [picked.column, picked.row] : [picked.row, picked.column];
      Object.assign(pick.style, {
        left: `${(100 * x) / width}%`,
        top: `${(100 * y) / height}%`,
        width: `${100 / width}%`,
        height: `${100 / height}%`,
      });
    }
    const at = (y, x) =>
      choose(
        name,
        Math.max(0, Math.min(rows - 1, sideways ? x : y)),
        Math.max(0, Math.min(columns - 1, sideways ? y : x)),
      );
    canvas.onpointerdown = (event) => {
      const box = canvas.getBoundingClientRect();
      at(
        Math.floor(((event.clientY - box.top) * height) / box.height),
        Math.floor(((event.clientX - box.left) * width) / box.width),
      );
    };
    canvas.onkeydown = (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
        event.key
      ];
      if (!move) return;
      event.preventDefault();
      const [y, x] = !mine
        ? [0, 0]
        : sideways
          ? [picked.column, picked.row]
          : [picked.row, picked.column];
      at(y + (mine ? move[0] : 0), x + (mine ? move[1] : 0));
    };
    return node;
  });
  if (nodes.some((node) => !node.isConnected) || nodes.length !== Object.keys(old).length) {
    const groups = Map.groupBy(nodes, ({ dataset }) =>
      dataset.name.replace(/(attn|mlp)_.*|^(wte|wpe|lm_head)$/, "$1"),
    );
    element("matrices").replaceChildren(
      ...[...groups.values()].map((group) => make("div", { className: "group" }, ...group)),
    );
  }
  return strongest;
}

function frame(name, rows, columns, sideways, shape) {
  // A model of one layer needs no layer number.
  const title = shape.endsWith("true") ? name : name.replace("layer0.", "");
  const canvas = make("canvas", {
    tabIndex: 0,
    role: "application",
    "aria-label": `Matrix ${name}, ${rows} by ${columns}; arrow keys choose a parameter`,
  });
  const node = make(
    "div",
    {},
    make(
      "span",
      { className: "tag" },
      `${title} ${rows}×${columns}${sideways ? ", transposed" : ""}`,
    ),
    make("div", { className: "holder" }, canvas, make("div", { className: "pick", hidden: true })),
  );
  Object.assign(node.dataset, { name, shape, lit: name.split(".").at(-1) });
  return node;
}

// The size that gets the full color: nearly the largest, so that an outlier fades nothing.
function strong(numbers) {
  const sizes = numbers.map(Math.abs).sort();
  return sizes[Math.floor(sizes.length * 0.995)] || sizes[sizes.length - 1] || 1;
}

export function show_back_words(view, mode, strongest) {
  const nonzero = view.gradients.filter((g) => g !== 0).length;
  const shown = view.documents
    .map((text) => `“${text}”`)
    .slice(0, 3)
    .join(", ");
  element("back-words").replaceChildren(
    ...(view.step && view.made
      ? [`Step ${count(view.step)} trained on `]
      : ["The next step would train on "]),
    make("bdi", {}, shown),
    " with a loss of ",
    make("b", {}, number(view.loss, 3)),
    `. ${count(nonzero)} of ${count(view.gradients.length)} gradients are not zero. `,
    `Full color means a ${MODES[mode]} of ±${strongest.toPrecision(2)}.`,
  );
}

// The chosen parameter: its value, its gradient, the same by finite differences, and Adam's update.
export function show_number(view, facts, { name, row, column }, check) {
  const index = facts.offsets[name] + row * facts.sizes[name][1] + column;
  const gradient = view.gradients[index];
  const before = view.made ? `  (before: ${exact(check.before)})` : "";
  const off = Math.abs(check.numeric - gradient).toExponential(1);
  const rows = {
    parameter: `${name}[${row}][${column}]`,
    value: exact(view.parameters[index]) + before,
    gradient: exact(gradient),
    "by finite differences": `${exact(check.numeric)}  (differs by ${off})`,
    ...(view.made ? { "Adam’s update": exact(view.updates[index]) } : {}),
  };
  element("number").replaceChildren(
    make(
      "dl",
      {},
      ...Object.entries(rows).flatMap(([key, value]) => [
        make("dt", {}, key),
        make("dd", {}, value),
      ]),
    ),
  );
}

export function matrix_table(view, facts, mode, name) {
  const [rows, columns] = facts.sizes[name];
  const from = facts.offsets[name];
  const numbers = Array.from({ length: rows }, (_, r) => [
    r,
    ...Array.from(view[mode].slice(from + r * columns, from + (r + 1) * columns), (x) =>
      number(x, 5),
    ),
  ]);
  return table([name, ...Array.from({ length: columns }, (_, c) => c)], numbers);
}

// The graph as a tree that opens one node at a time. ask(path) promises the node at that path:
// { data, grad, operation, name, inputs: how many }.
export function show_graph(root, ask) {
  element("graph").replaceChildren(make("ul", {}, branch(root, [], ask)));
  element("graph").querySelector("button")?.click();
}

function branch(node, path, ask) {
  const words = [
    node.name || (node.operation ? node.operation : "constant"),
    make("em", {}, ` = ${number(node.data, 6)}, gradient ${number(node.grad, 6)}`),
  ];
  if (!node.inputs) return make("li", { className: "leaf" }, ...words);
  const button = make("button", { type: "button", "aria-expanded": "false" }, ...words);
  const item = make("li", {}, button);
  item.dataset.lit =
    { "+": "__add__ add", "×": "__mul__ mul", exp: "fn:exp", relu: "fn:relu" }[node.operation] ??
    "__pow__ pow";
  button.onclick = async () => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", !open);
    if (open) return item.querySelector("ul").remove();
    const inputs = await Promise.all(
      Array.from({ length: node.inputs }, (_, i) => ask([...path, i])),
    );
    if (!item.querySelector("ul"))
      item.append(make("ul", {}, ...inputs.map((input, i) => branch(input, [...path, i], ask))));
  };
  return item;
}
