// The worker: trains in slices, so that questions are answered in between, and answers them one by one.

import { read_documents } from "../editions/microgpt.js";
import { Session } from "./session.js";

const MOST = 100_000; // strings in a list
const SLICE = 24; // ms of training between two looks at the messages
let session = null,
  run = 0;
const pause = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel(); // a timer would wait 4 ms each time
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });

async function start({ text, settings, model }) {
  const mine = ++run,
    began = performance.now(),
    documents = read_documents(text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n"));
  if (!documents.length && !model) throw new Error("The list is empty: one string on each line.");
  if (documents.length > MOST)
    throw new Error(`The list has ${documents.length} strings; the page takes ${MOST}.`);
  session = new Session(documents, settings, model);
  const { alphabet, config } = session,
    { sizes, offsets, parameters } = session.engine;
  const facts = {
    alphabet,
    config,
    sizes,
    offsets,
    parameters: parameters.length,
    documents: documents.length,
    given: session.given,
  };
  facts.cut = documents.filter((document) => [...document].length >= config.block_size).length;
  postMessage({ kind: "started", facts });
  const prepared = performance.now();
  while (!session.given && session.losses.length < config.num_steps) {
    const from = session.losses.length,
      until = performance.now() + SLICE;
    let finite = true;
    while (finite && performance.now() < until && session.losses.length < config.num_steps)
      finite = session.advance(4);
    const losses = session.losses.slice(from);
    if (!finite)
      throw new Error(
        `The loss stopped being finite at step ${session.losses.length + 1}. Lower the learning rate.`,
      );
    postMessage({ kind: "progress", from, losses });
    await pause();
    if (run !== mine) return null; // another run has begun
  }
  return { training_ms: performance.now() - prepared, total_ms: performance.now() - began };
}

self.onmessage = async ({ data: { id, kind, argument } }) => {
  try {
    const result = await (kind === "start" ? start(argument) : session[kind](argument));
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
