// One training run: trains, goes back to any step, samples, traces a text, and checks a gradient.
// Runs in the worker, and in node for tests. Uses nothing of the page.

import { alphabet_of, empty_cache, gpt, matrices, Random, shapes } from "../editions/microgpt.js";
import { Engine } from "./engine.js";
import { NGrams } from "./ngrams.js";
import { checked, SETTINGS } from "./settings.js";

const KEPT_BYTES = 48e6; // for the snapshots from which an earlier step is reached
const GRAPH_LIMIT = 150_000; // parameters times positions; a larger graph opens too slowly
const DIFFERENCE = 1e-5; // step of the finite-difference check

export class Session {
  // model: a model that was trained elsewhere, or null to train one:
  // { config, alphabet, parameters, m, v, step, rng_state }. With a model, documents may be empty.
  constructor(documents, settings, model = null) {
    this.config = model ? { ...SETTINGS, ...model.config } : checked(settings);
    const rng = new Random(this.config.seed);
    this.documents = [...documents];
    rng.shuffle(this.documents);
    this.known = new Set(documents);
    this.alphabet = model ? [...model.alphabet] : alphabet_of(documents);
    this.ids = new Map(this.alphabet.map((character, id) => [character, id]));
    const sizes = shapes(this.alphabet.length + 1, this.config);
    const count = Object.values(sizes).reduce((sum, [rows, columns]) => sum + rows * columns, 0);
    const weights =
      model?.parameters ??
      Float64Array.from({ length: count }, () => rng.gauss(0, this.config.init_std));
    this.engine = new Engine(this.config, this.alphabet.length + 1, weights);
    this.given = model !== null; // trained elsewhere: there are no earlier steps to go back to
    if (model) {
      Object.assign(this.engine, { m: model.m, v: model.v, step: model.step });
      const [, words, spare] = model.rng_state; // as random.getstate() gives it
      Object.assign(rng, { words: Uint32Array.from(words.slice(0, 624)), used: words[624], spare });
    }
    this.losses = [];
    // Steps between snapshots. A snapshot has three arrays of 8 bytes per parameter.
    this.every = Math.max(1, Math.ceil((this.config.num_steps * count * 24) / KEPT_BYTES));
    this.snapshots = [];
    this.streams = new Map([["", { rng, coins: [] }]]); // the reference's coins follow its weights
  }

  encode(document) {
    const bos = this.alphabet.length;
    return [bos, ...Array.from(document, (character) => this.ids.get(character)), bos];
  }

  batch(step) {
    const { batch_size } = this.config;
    const count = this.documents.length;
    return Array.from(
      { length: batch_size },
      (_, i) => this.documents[(step * batch_size + i) % count],
    );
  }

  tokens(batch) {
    // a character more than the block predicts is never seen
    return batch.map((document) =>
      this.encode(
        [...document.slice(0, 2 * this.config.block_size)]
          .slice(0, this.config.block_size)
          .join(""),
      ),
    );
  }

  // Train up to `count` steps further. Returns false when the loss stopped being finite.
  advance(count) {
    const { engine } = this;
    const end = Math.min(this.losses.length + count, this.config.num_steps);
    while (this.losses.length < end) {
      if (engine.step % this.every === 0) this.snapshots.push(this.snapshot());
      const loss = engine.train(this.tokens(this.batch(engine.step)));
      if (!Number.isFinite(loss)) return false;
      this.losses.push(loss);
    }
    return true;
  }

  snapshot() {
    const { parameters, m, v, step } = this.engine;
    return { parameters: parameters.slice(), m: m.slice(), v: v.slice(), step };
  }

  restore(kept) {
    for (const name of ["parameters", "m", "v"]) this.engine[name].set(kept[name]);
    this.engine.step = kept.step;
  }

  // Put the engine at a step already trained, and report the update that led there:
  // the loss and gradient before it, and what Adam subtracted. Step 0 reports the update to come.
  look(step) {
    const { engine } = this;
    const from = this.given ? engine.step : Math.max(step, 1) - 1;
    if (!this.given && engine.step !== from) {
      const kept =
        this.snapshots[Math.min(Math.floor(from / this.every), this.snapshots.length - 1)];
      this.restore(kept);
      while (engine.step < from) engine.train(this.tokens(this.batch(engine.step)));
    }
    const batch = this.documents.length
      ? this.batch(from)
      : this.samples({})
          .slice(0, 1)
          .map((sample) => sample.text);
    const tokens = this.tokens(batch);
    this.before = engine.parameters.slice();
    this.looked_at = tokens;
    const loss = engine.loss_and_gradients(tokens);
    const gradients = engine.gradients.slice();
    const updates = gradients.map((_, i) => -engine.adam_step(i));
    if (!this.given && step > 0) engine.train(tokens);
    return {
      step,
      loss,
      documents: batch,
      parameters: engine.parameters.slice(),
      gradients,
      updates,
    };
  }

  // The gradient of the update in view by one parameter, from two losses instead of the chain rule.
  check(index) {
    const { engine } = this;
    const kept = this.snapshot();
    const losses = [];
    engine.parameters.set(this.before);
    for (const shift of [DIFFERENCE, -DIFFERENCE]) {
      engine.parameters[index] = this.before[index] + shift;
      losses.push(
        this.looked_at.reduce((sum, tokens) => sum + engine.document_loss(tokens), 0) /
          this.looked_at.length,
      );
    }
    this.restore(kept);
    return {
      before: this.before[index],
      numeric: (losses[0] - losses[1]) / (2 * DIFFERENCE),
      m: engine.m[index],
      v: engine.v[index],
    };
  }

  // Generated documents: [{ start, text, known }]. A coin is a uniform random number in [0, 1);
  // each token takes one. seed: "" for the coins that follow the weights, as in the reference, or a
  // whole number, as in `microgpt sample --seed`. hold: document i starts at the same coin whatever
  // the temperature, so that it changes gradually.
  samples({ seed = "", temperature = 0.5, top_k = 0, hold = false, count = 20 }) {
    if (!this.streams.has(seed)) this.streams.set(seed, { rng: new Random(seed), coins: [] });
    const { rng, coins } = this.streams.get(seed);
    const draw = (starts, temperature, top_k) => {
      let used = 0;
      return Array.from({ length: count }, (_, i) => {
        const start = starts?.[i].start ?? used;
        used = start;
        const coin = () => {
          while (coins.length <= used) coins.push(rng.random());
          return coins[used++];
        };
        return {
          start,
          text: this.engine
            .generate(coin, temperature, top_k)
            .map((token) => this.alphabet[token])
            .join(""),
        };
      });
    };
    const samples = draw(hold ? draw(null, 0.5, 0) : null, temperature, top_k);
    return samples.map((sample) => ({ ...sample, known: this.known.has(sample.text) }));
  }

  // One text, position by position; position t predicts tokens[t + 1]. Characters that are not in
  // the alphabet are returned as { strange } instead.
  trace(text) {
    const strange = [...text].filter((character) => !this.ids.has(character));
    if (strange.length) return { strange };
    const tokens = this.encode([...text].slice(0, this.config.block_size).join("")).slice(
      0,
      this.config.block_size + 1,
    );
    const trace = this.engine.trace(tokens);
    const losses = trace.probabilities.map((row, t) => -Math.log(row[tokens[t + 1]]));
    return {
      text,
      tokens,
      losses,
      loss: losses.reduce((sum, loss) => sum + loss, 0) * (1 / losses.length),
      ...trace,
    };
  }

  // The validation loss of n-grams: they count nine tenths of the shuffled documents, and are
  // measured on the last tenth, the held-out set.
  baselines() {
    const held_out = Math.max(1, Math.round(this.documents.length * 0.1));
    if (held_out >= this.documents.length) return { uniform: Math.log(this.alphabet.length + 1) };
    const all = this.documents.map((document) => this.encode(document));
    return new NGrams(all.slice(0, -held_out), this.alphabet.length + 1).losses(
      all.slice(-held_out),
      this.config.block_size,
    );
  }

  // The graph of scalars that computes the logit of `token` after text[0 ... position), built as
  // the reference builds it. Null where it is too large.
  graph({ text, position, token }) {
    const { parameters, sizes } = this.engine;
    if (parameters.length * (position + 1) > GRAPH_LIMIT) return null;
    let next = 0;
    const weights = matrices(sizes, () => parameters[next++]);
    this.names = new Map();
    for (const [name, matrix] of Object.entries(weights)) {
      for (const [r, row] of matrix.entries()) {
        for (const [c, value] of row.entries()) this.names.set(value, `${name}[${r}][${c}]`);
      }
    }
    const cache = empty_cache(this.config);
    const tokens = this.encode(text);
    let logits;
    for (let t = 0; t <= position; t++) [logits] = gpt(tokens[t], t, cache, weights, this.config);
    this.root = logits[token];
    this.root.backward();
    return this.node([]);
  }

  // A node of that graph, reached from the logit by choosing an input at each level.
  node(path) {
    const value = path.reduce((node, i) => node.inputs[i], this.root);
    const { data, grad, inputs } = value;
    return {
      data,
      grad,
      operation: operation(value),
      name: this.names.get(value) ?? "",
      inputs: inputs.length,
    };
  }
}

// What made a node, read from its local gradients: the graph keeps no names.
function operation({ data, inputs, local_grads }) {
  if (!inputs.length) return "";
  const [a, b] = inputs;
  const [slope] = local_grads;
  if (b) return slope === 1 && local_grads[1] === 1 && data === a.data + b.data ? "+" : "×";
  if (slope === data) return "exp";
  if ((slope === 0 && data === 0) || (slope === 1 && data === a.data)) return "relu";
  return `power ${Number(((slope * a.data) / data).toFixed(3))}`;
}
