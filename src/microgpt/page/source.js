// The panel with the algorithm's source. When the reader points at a part of the page, the panel
// highlights the lines that compute it: those that the part's attribute data-lit names.
//
// data-lit holds words. fn:NAME names the definition of a function, method or class, from its first
// line to its last. Any other word names every line in which it appears. Names are looked up in the
// source that is shown, so the sources may change: a test checks that every name is found.

import { element } from "./charts.js";

let texts = {}; // language -> source
let lines = []; // the shown source's lines as DOM nodes
let shown = ""; // the text of that source
let words = ""; // the data-lit that is highlighted

function show_source(language) {
  const comment = new RegExp(`(^|\\s)${language === "python" ? "#" : "//"}`);
  shown = texts[language];
  lines = lines_of(shown).map((line) => {
    const at = line.search(comment);
    const code = make_line(at < 0 ? line : line.slice(0, at));
    if (at >= 0)
      code.append(Object.assign(document.createElement("i"), { textContent: line.slice(at) }));
    return code;
  });
  element("source").replaceChildren(...lines);
  for (const name of ["python", "javascript"])
    element(name).setAttribute("aria-pressed", name === language);
  const again = words;
  words = "";
  light(again);
}

const lines_of = (text) => text.trimEnd().split("\n");
const make_line = (text) => Object.assign(document.createElement("span"), { textContent: text });
const indent_of = (line) => line.search(/\S/); // -1 for an empty line

// The indices of the lines that the words of a data-lit name, in ascending order.
export function named_lines(text, wanted) {
  const all = lines_of(text);
  const named = new Set();
  for (const word of wanted.split(" ").filter(Boolean)) {
    if (word.startsWith("fn:")) {
      const [start, end] = definition(all, word.slice(3));
      for (let i = start; i < end; i++) named.add(i);
    } else {
      const whole_word = new RegExp(`\\b${word}\\b`);
      for (const [i, line] of all.entries()) if (whole_word.test(line)) named.add(i);
    }
  }
  return [...named].sort((a, b) => a - b);
}

// A definition as [first line, line after its last], or [0, 0]. It goes on while lines are indented
// further, empty, or close a bracket that its head opened.
function definition(all, name) {
  const head = new RegExp(
    `^\\s*(export )?(async )?((def|class|function) ${name}\\b|${name}\\(.*\\{$)`,
  );
  const start = all.findIndex((line) => head.test(line));
  if (start < 0) return [0, 0];
  const margin = indent_of(all[start]);
  let end = start + 1;
  while (end < all.length) {
    const line = all[end];
    const inside = !line.trim() || indent_of(line) > margin;
    const closes = indent_of(line) === margin && /^[)\]}]/.test(line.trim());
    if (!inside && !closes) break;
    end++;
    if (line.trim() === "}" && closes) break;
  }
  while (!all[end - 1].trim()) end--;
  return [start, end];
}

function light(wanted) {
  if (wanted === words) return;
  words = wanted;
  const named = named_lines(shown, wanted);
  for (const [i, line] of lines.entries()) line.classList.toggle("lit", named.includes(i));
  if (!named.length) return;
  // A definition is shown from its start. Of a name, the last use tells most.
  const first = lines[wanted.includes("fn:") ? named[0] : named.at(-1)];
  const box = element("source");
  box.scrollTop = first.offsetTop - box.offsetTop - 40; // the panel scrolls, not the page
}

// Show the Python source, and highlight from now on. sources: { python, javascript }.
export function watch_source(sources) {
  texts = sources;
  for (const event of ["pointerover", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      const part = target.closest?.("[data-lit]");
      if (part) light(part.dataset.lit);
    });
  }
  for (const language of ["python", "javascript"])
    element(language).onclick = () => show_source(language);
  show_source("python");
}
