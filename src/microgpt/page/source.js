// The algorithm beside the page: shows a source, and lights the lines that an element's data-lit names.
// A word of data-lit is either fn:NAME, the whole function or class of that name, or a NAME that lines hold.

import { element } from "./charts.js";

let texts = {}; // language -> source
let lines = []; // { text, node } of the source on show
let words = ""; // what is lit

function show_source(language) {
  const text = texts[language],
    comment = language === "python" ? "#" : "//";
  lines = text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const node = document.createElement("span"),
        at = line.search(new RegExp(`(^|\\s)${comment}`));
      node.append(at < 0 ? line : line.slice(0, at));
      if (at >= 0)
        node.append(Object.assign(document.createElement("i"), { textContent: line.slice(at) }));
      return { text: line, node };
    });
  element("source").replaceChildren(...lines.map(({ node }) => node));
  for (const name of ["python", "javascript"])
    element(name).setAttribute("aria-pressed", name === language);
  const again = words;
  words = "";
  light(again);
}

// The numbers of the lines of a definition: its first line, and what follows further to the right.
function definition(name) {
  const head = new RegExp(`^( *)(export )?(def|class|function|async function)? ?${name}\\(?.*[:{]`);
  const start = lines.findIndex(
    ({ text }) =>
      head.test(text) &&
      new RegExp(`\\b(def|class|function) ${name}\\b|^ +${name}\\(.*\\{`).test(text),
  );
  if (start < 0) return [];
  const margin = lines[start].text.search(/\S/);
  let end = start + 1;
  while (end < lines.length && (!lines[end].text.trim() || lines[end].text.search(/\S/) > margin))
    end++;
  if (lines[end]?.text.trim() === "}") end++;
  while (!lines[end - 1].text.trim()) end--;
  return Array.from({ length: end - start }, (_, i) => start + i);
}

function light(wanted) {
  if (wanted === words) return;
  words = wanted;
  const lit = new Set();
  for (const word of wanted.split(" ").filter(Boolean)) {
    const found = word.startsWith("fn:")
      ? definition(word.slice(3))
      : [...lines.keys()].filter((i) => new RegExp(`\\b${word}\\b`).test(lines[i].text));
    for (const i of found) lit.add(i);
  }
  for (const [i, { node }] of lines.entries()) node.classList.toggle("lit", lit.has(i));
  const box = element("source"),
    first = wanted.includes("fn:") ? Math.min(...lit) : Math.max(...lit); // a name's last use tells most
  if (lit.size) box.scrollTop = lines[first].node.offsetTop - box.offsetTop - 40; // the panel scrolls, not the page
}

// texts: { python, javascript }
export function watch_source(sources_to_show) {
  texts = sources_to_show;
  for (const event of ["pointerover", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      const near = target.closest?.("[data-lit]");
      if (near) light(near.dataset.lit);
    });
  }
  for (const language of ["python", "javascript"])
    element(language).onclick = () => show_source(language);
  show_source("python");
}
