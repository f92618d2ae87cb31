// Drawing: the loss curve, grids of colored cells, tables, numbers as text. Knows no model.

export const element = (id) => document.getElementById(id);

// A DOM node with children. Properties become attributes where the name has a dash or the node is
// SVG.
export function make(tag, properties = {}, ...children) {
  const [name, is_svg] = tag.startsWith("svg:") ? [tag.slice(4), true] : [tag, false];
  const node = is_svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (is_svg || key.includes("-") || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

export const number = (value, digits = 4) =>
  (Object.is(value, -0) ? 0 : value).toFixed(digits).replace("-", "−");
export const count = (value) => value.toLocaleString("en-US");
export const percent = (p) =>
  p >= 0.0995
    ? `${(100 * p).toFixed(0)} %`
    : p >= 0.00095
      ? `${(100 * p).toFixed(1)} %`
      : "< 0.1 %";

// A space is shown as ␣; control characters, which could hide or reverse text, are shown as �.
export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "�").replace(/ /g, "␣");
}

let tables_made = 0; // each table is a landmark, and each landmark needs a different name

export function table(head, rows) {
  const row = (cells, tag) =>
    make(
      "tr",
      {},
      ...cells.map((cell, i) =>
        make(
          i && tag === "td" ? "td" : "th",
          i ? {} : { scope: tag === "td" ? "row" : "col" },
          String(cell),
        ),
      ),
    );
  return make(
    "div",
    {
      className: "scroll",
      tabIndex: 0,
      role: "region",
      "aria-label": `Table ${++tables_made}: ${head[0]}`,
    },
    make(
      "table",
      {},
      make("thead", {}, row(head, "th")),
      make("tbody", {}, ...rows.map((cells) => row(cells, "td"))),
    ),
  );
}

const running_mean = (losses, i, width = 100) => {
  const from = Math.max(0, i + 1 - width);
  let sum = 0;
  for (let k = from; k <= i; k++) sum += losses[k];
  return sum / (i + 1 - from);
};

export const mean_at = (losses, step) =>
  running_mean(losses, Math.max(0, Math.min(step, losses.length) - 1));

// losses: one per step; lines: { name: loss }, drawn across; step: marked by a vertical line.
export function draw_loss(box, { losses, num_steps, lines, step }) {
  const width = Math.max(280, box.clientWidth);
  const height = Math.min(300, 140 + width / 4);
  const right = 104;
  const left = 26;
  const bottom = 22;
  const highest = Math.max(3.6, ...Object.values(lines), ...losses.slice(0, 20)) * 1.04;
  const lowest = Math.min(
    1.5,
    ...Object.values(lines).map((l) => l - 0.3),
    ...losses.map((_, i) => (i % 50 ? Infinity : mean_at(losses, i + 1) - 0.4)),
  );
  const x = (s) => left + ((width - left - right) * s) / num_steps;
  const y = (loss) =>
    (height - bottom) * (1 - (Math.min(loss, highest) - lowest) / (highest - lowest));
  const every = Math.max(1, Math.ceil(losses.length / 2500));
  const smooth = Math.max(1, Math.round(losses.length / 300));
  const dots = losses
    .map((loss, i) =>
      i % every || loss < lowest ? "" : `M${x(i + 1).toFixed(1)} ${y(loss).toFixed(1)}h0`,
    )
    .join("");
  const curve = losses
    .map((_, i) =>
      i % smooth && i + 1 < losses.length
        ? ""
        : `${x(i + 1).toFixed(1)},${y(mean_at(losses, i + 1)).toFixed(1)}`,
    )
    .filter(Boolean)
    .join(" ");
  const text = (at_x, at_y, words, more = {}) =>
    make("svg:text", { x: at_x, y: at_y, ...more }, words);
  const ticks = [1, 2, 3, 4, 5, 6].filter((tick) => tick > lowest && tick < highest);
  let before = -Infinity; // y of the last label; the next one must not overlap it
  const labels = Object.entries(lines)
    .sort((a, b) => b[1] - a[1])
    .map(([name, loss]) => {
      const label_y = Math.max(y(loss) + 4, before + 14);
      before = label_y;
      return [
        make("svg:line", { class: "base", x1: left, x2: width - right, y1: y(loss), y2: y(loss) }),
        text(width - right + 6, label_y, `${name} ${number(loss, 2)}`),
      ];
    });
  box.replaceChildren(
    make(
      "svg:svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": `Loss over ${num_steps} steps; the table below has the numbers`,
      },
      ...ticks.map((tick) => text(0, y(tick) + 4, String(tick))),
      make("svg:line", {
        class: "axis",
        x1: left,
        x2: width - right,
        y1: height - bottom,
        y2: height - bottom,
      }),
      text(left, height - 6, "0"),
      text(width - right, height - 6, `${count(num_steps)} steps`, { "text-anchor": "end" }),
      ...labels.flat(),
      make("svg:path", { class: "dots", d: dots }),
      make("svg:polyline", { class: "mean", points: curve }),
      make("svg:line", { class: "now", x1: x(step), x2: x(step), y1: 0, y2: height - bottom }),
    ),
  );
}

// The theme's colors, each as [r, g, b].
function inks() {
  const style = getComputedStyle(document.documentElement);
  const probe = style.getPropertyValue("--paper").trim();
  const paper = [1, 3, 5].map((i) => parseInt(probe.slice(i, i + 2), 16));
  const triple = (name) => style.getPropertyValue(name).split(",").map(Number);
  return { paper, low: triple("--low"), high: triple("--high") };
}

// A grid of cells on a canvas. value(row, column) is from -1 (blue) to 1 (orange), or undefined.
export function draw_cells(canvas, rows, columns, size, value) {
  const { paper, low, high } = inks();
  const image = new ImageData(columns, rows);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const v = value(r, c);
      const at = 4 * (r * columns + c);
      const ink = v < 0 ? low : high;
      const share = Math.min(1, Math.abs(v ?? 0));
      for (let i = 0; i < 3; i++) image.data[at + i] = paper[i] + (ink[i] - paper[i]) * share;
      image.data[at + 3] = v === undefined ? 0 : 255;
    }
  }
  Object.assign(canvas, { width: columns, height: rows });
  Object.assign(canvas.style, {
    width: `${columns * size}px`,
    height: "auto",
    aspectRatio: `${columns} / ${rows}`,
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
