// The worker: trains in short slices, and answers the page's questions between them.

import { read_documents } from "../editions/microgpt.js";
import { Session } from "./session.js";

const MOST_DOCUMENTS = 100_000;
const SLICE = 24; // milliseconds of training between questions
let session = null;
let run = 0;
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
  const mine = ++run;
  const began = performance.now();
  const documents = read_documents(text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n"));
  if (!documents.length && !model)
    throw new Error("The dataset is empty. Type one document on each line.");
  if (documents.length > MOST_DOCUMENTS)
    throw new Error(
      `The dataset has ${documents.length} documents; this page takes at most ${MOST_DOCUMENTS}.`,
    );
  session = new Session(documents, settings, model);
  const { alphabet, config } = session;
  const { sizes, offsets, parameters } = session.engine;
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
    const from = session.losses.length;
    const until = performance.now() + SLICE;
    let finite = true;
    while (finite && performance.now() < until && session.losses.length < config.num_steps)
      finite = session.advance(4);
    const losses = session.losses.slice(from);
    if (!finite)
      throw new Error(
        `The loss is not finite at step ${session.losses.length + 1}. Lower the learning rate.`,
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
