// The functions of an exported model: it samples, scores and predicts, and it cannot train.
// `microgpt export --to js` writes the constant MODEL and the engine above this text.

import { Random } from "../editions/microgpt.js";
import { Engine } from "./engine.js";

const numbers = new Float64Array(
  Uint8Array.from(atob(MODEL.parameters), (character) => character.charCodeAt(0)).buffer,
);
const engine = new Engine(MODEL.config, MODEL.alphabet.length + 1, numbers);
const ids = new Map(MODEL.alphabet.map((character, id) => [character, id]));
const bos = MODEL.alphabet.length;

function tokens_of(text) {
  return Array.from(text, (character) => {
    if (!ids.has(character))
      throw new RangeError(
        `the character ${JSON.stringify(character)} is not in the model's alphabet`,
      );
    return ids.get(character);
  });
}

export const config = MODEL.config;
export const alphabet = MODEL.alphabet;

// n new documents. The same seed gives those of `microgpt sample --seed`.
export function sample({
  n = 20,
  temperature = 0.5,
  top_k = 0,
  seed = Math.floor(Math.random() * 1e6),
} = {}) {
  if (!(temperature > 0)) throw new RangeError("temperature must be above 0");
  const rng = new Random(seed);
  return Array.from({ length: n }, () =>
    engine
      .generate(() => rng.random(), temperature, top_k)
      .map((token) => alphabet[token])
      .join(""),
  );
}

// The log-probability of a text in nats, its end included. A text longer than the block is cut.
export function score(text) {
  const tokens = [bos, ...tokens_of(text).slice(0, config.block_size), bos];
  let sum = 0;
  for (let t = 0; t < Math.min(config.block_size, tokens.length - 1); t++) {
    engine.forward(tokens[t], t);
    sum += Math.log(engine.probabilities(t)[tokens[t + 1]]);
  }
  return sum;
}

// Probabilities of the token after a prefix: one per character of the alphabet, then the end's.
export function next(prefix) {
  const tokens = [bos, ...tokens_of(prefix)];
  if (tokens.length > config.block_size)
    throw new RangeError(`a prefix has at most ${config.block_size - 1} characters`);
  for (const [t, token] of tokens.entries()) engine.forward(token, t);
  return Array.from(engine.probabilities(tokens.length - 1));
}
