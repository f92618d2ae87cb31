// The page's side of the worker: starts it, sends it questions, and hands on what it reports.

// A module worker does not start from file://, so this is a classic one. The edition gets a scope
// of its own, because the engine uses some of its names. Its last part, a script for node, is cut.
function start_worker({ javascript, worker }) {
  const text = javascript.replace(/^export /gm, "").split("\nif (globalThis.process")[0];
  const names = [...javascript.matchAll(/^export (?:const|class|function) (\w+)/gm)]
    .map((match) => match[1])
    .join();
  const edition = `"use strict";\nconst {${names}} = (() => {${text}\nreturn {${names}} })();\n`;
  return new Worker(URL.createObjectURL(new Blob([edition, worker], { type: "text/javascript" })));
}

// A function ask(kind, argument) that returns a promise of the worker's answer.
// reports: { started(facts), progress({ losses }), failed(words) }, called when the worker reports.
export function connect(sources, reports) {
  const worker = start_worker(sources);
  const waiting = new Map(); // id of a question -> { resolve, reject }
  let questions = 0;
  worker.onerror = (event) =>
    reports.failed(`The worker failed: ${event.message ?? "it could not start"}`);
  worker.onmessage = ({ data: message }) => {
    if (message.kind === "started") return reports.started(message.facts);
    if (message.kind === "progress") return reports.progress(message);
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(new Error(message.error));
    else resolve(message.result);
  };
  return (kind, argument) =>
    new Promise((resolve, reject) => {
      waiting.set(++questions, { resolve, reject });
      worker.postMessage({ id: questions, kind, argument });
    });
}
