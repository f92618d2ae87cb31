// The complete algorithm in JavaScript: a GPT that learns from a list of short strings and
// generates new ones.
//
//     node editions/microgpt.js [FILE]     one document a line; without FILE it reads input.txt
//
// One module without dependencies, for node and browsers. It has the functions of reference.py
// under the same names, and Python's own random generator. So it draws the same weights, the same
// order of documents and the same samples, and it prints what reference.py prints, character for
// character. It does not promise the same bits: exp, log and pow are the JavaScript engine's.

// ---- Randomness: Python's random.Random, a Mersenne Twister (Matsumoto and Nishimura 1998) ------

export class Random {
  constructor(seed) {
    const key = []; // the seed in 32-bit words, lowest first
    for (let rest = BigInt(seed); rest > 0n || key.length === 0; rest >>= 32n)
      key.push(Number(rest & 0xffffffffn));
    const words = new Uint32Array(624);
    this.words = words;
    words[0] = 19650218;
    for (let i = 1; i < 624; i++)
      words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
    const previous = (i) => words[i - 1] ^ (words[i - 1] >>> 30);
    let i = 1;
    const next = () => {
      if (++i === 624) [words[0], i] = [words[623], 1];
    };
    for (let k = 0; k < Math.max(624, key.length); k++, next()) {
      words[i] =
        (words[i] ^ Math.imul(previous(i), 1664525)) + key[k % key.length] + (k % key.length);
    }
    for (let k = 0; k < 623; k++, next())
      words[i] = (words[i] ^ Math.imul(previous(i), 1566083941)) - i;
    words[0] = 0x80000000;
    this.used = 624; // words already handed out
    this.spare = null; // gauss makes two numbers at a time
  }

  word() {
    if (this.used === 624) {
      const words = this.words;
      for (let i = 0; i < 624; i++) {
        const y = (words[i] & 0x80000000) | (words[(i + 1) % 624] & 0x7fffffff);
        words[i] = words[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.used = 0;
    }
    let y = this.words[this.used++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  // 53 random bits in [0, 1).
  random() {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  // Uniform in 0 ... n - 1, n < 2**31: draws as many bits as n has until they are below n.
  below(n) {
    const spare_bits = Math.clz32(n);
    let drawn = this.word() >>> spare_bits;
    while (drawn >= n) drawn = this.word() >>> spare_bits;
    return drawn;
  }

  shuffle(list) {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [list[i], list[j]] = [list[j], list[i]];
    }
  }

  gauss(mu, sigma) {
    let z = this.spare;
    this.spare = null;
    if (z === null) {
      const angle = this.random() * 2 * Math.PI;
      const radius = Math.sqrt(-2 * Math.log(1 - this.random()));
      z = Math.cos(angle) * radius;
      this.spare = Math.sin(angle) * radius;
    }
    return mu + z * sigma;
  }

  // An index, drawn with the probability that its weight gives it.
  choice(weights) {
    const sums = [];
    for (const weight of weights) sums.push((sums.at(-1) ?? 0) + weight);
    const coin = this.random() * sums.at(-1);
    const found = sums.findIndex((sum) => coin < sum);
    return found < 0 ? sums.length - 1 : found;
  }
}

// ---- Documents and tokens -----------------------------------------------------------------------

// White space as Python's str.strip() knows it: \s with the separators 1C-1F and 85, without FEFF.
const SPACE =
  "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const EDGES = new RegExp(`^${SPACE}+|${SPACE}+$`, "g");
const strip = (text) => text.replace(EDGES, "");

export function read_documents(text) {
  return strip(text)
    .split("\n")
    .map(strip)
    .filter((line) => line);
}

// In code point order; JavaScript's own order of strings is by UTF-16 units.
export function alphabet_of(documents) {
  const characters = new Set();
  for (const document of documents) for (const character of document) characters.add(character);
  return [...characters].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
}

export function encode(document, alphabet) {
  const bos = alphabet.length;
  return [bos, ...Array.from(document, (character) => alphabet.indexOf(character)), bos];
}

// ---- Gradients ----------------------------------------------------------------------------------

let passes = 0; // backward passes so far; a node carries the number of the last pass that saw it
const NONE = []; // the inputs of a number that was not computed, and its local gradients

export class Value {
  constructor(data, inputs = NONE, local_grads = NONE) {
    this.data = data;
    this.grad = 0; // d(last node) / d(this node), filled in by backward()
    this.inputs = inputs; // the Values this one was computed from
    this.local_grads = local_grads; // d(this node) / d(input), one for each input
    this.pass = 0;
  }

  add(other) {
    if (!(other instanceof Value)) other = new Value(other);
    return new Value(this.data + other.data, [this, other], [1, 1]);
  }

  mul(other) {
    if (!(other instanceof Value)) other = new Value(other);
    return new Value(this.data * other.data, [this, other], [other.data, this.data]);
  }

  // The exponent is a plain number.
  pow(exponent) {
    return new Value(this.data ** exponent, [this], [exponent * this.data ** (exponent - 1)]);
  }

  log() {
    return new Value(Math.log(this.data), [this], [1 / this.data]);
  }

  exp() {
    const data = Math.exp(this.data);
    return new Value(data, [this], [data]);
  }

  relu() {
    return new Value(this.data > 0 ? this.data : 0, [this], [this.data > 0 ? 1 : 0]);
  }

  // The others are composed of these, as in reference.py. Each composition fixes which roundings
  // happen.
  neg() {
    return this.mul(-1);
  }
  sub(other) {
    return this.add(other instanceof Value ? other.neg() : -other);
  }
  div(other) {
    return this.mul(other instanceof Value ? other.pow(-1) : other ** -1);
  }

  // Reverse topological order, found depth first with inputs from left to right.
  backward() {
    const order = [];
    const stack = [this];
    const next_input = [0];
    const pass = ++passes;
    this.pass = pass;
    while (stack.length) {
      const node = stack.at(-1);
      const i = next_input[next_input.length - 1]++;
      if (i === node.inputs.length) {
        // Every input is in the order already.
        order.push(node);
        stack.pop();
        next_input.pop();
      } else if (node.inputs[i].pass !== pass) {
        node.inputs[i].pass = pass;
        stack.push(node.inputs[i]);
        next_input.push(0);
      }
    }
    this.grad = 1;
    for (const node of order.reverse()) {
      for (let i = 0; i < node.inputs.length; i++)
        node.inputs[i].grad += node.local_grads[i] * node.grad;
    }
  }
}

// Python's sum starts from 0, and so does this one: it has one more node.
function sum(values) {
  let total = values[0].add(0);
  for (let i = 1; i < values.length; i++) total = total.add(values[i]);
  return total;
}

// ---- The model ----------------------------------------------------------------------------------
export function shapes(vocab_size, { n_layer, n_embd, block_size }) {
  const embedding = [vocab_size, n_embd];
  const sizes = { wte: embedding, wpe: [block_size, n_embd], lm_head: embedding };
  for (let i = 0; i < n_layer; i++) {
    for (const name of ["attn_wq", "attn_wk", "attn_wv", "attn_wo"])
      sizes[`layer${i}.${name}`] = [n_embd, n_embd];
    sizes[`layer${i}.mlp_fc1`] = [4 * n_embd, n_embd];
    sizes[`layer${i}.mlp_fc2`] = [n_embd, 4 * n_embd];
  }
  return sizes;
}

// Matrices of Values, row by row; `draw` gives the next number: a Gaussian, or a trained parameter.
export function matrices(sizes, draw) {
  const matrix = ([rows, columns]) =>
    Array.from({ length: rows }, () => Array.from({ length: columns }, () => new Value(draw())));
  return Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, matrix(size)]));
}

export function initial_weights(sizes, rng, std = 0.08) {
  return matrices(sizes, () => rng.gauss(0, std));
}

export function parameters_of(weights) {
  return Object.values(weights).flat(2);
}

// Keys and values of each layer, to which every position of a document appends.
export function empty_cache({ n_layer }) {
  return Array.from({ length: n_layer }, () => [[], []]);
}

function linear(x, matrix) {
  return matrix.map((row) => sum(row.map((w, i) => w.mul(x[i]))));
}

export function softmax(logits) {
  let highest = -Infinity; // avoids overflow; a number, without a gradient
  for (const { data } of logits) if (data > highest) highest = data;
  const exps = logits.map((logit) => logit.sub(highest).exp());
  const total = sum(exps);
  return exps.map((e) => e.div(total));
}

function rmsnorm(x) {
  const mean_square = sum(x.map((xi) => xi.mul(xi))).div(x.length);
  const scale = mean_square.add(1e-5).pow(-0.5);
  return x.map((xi) => xi.mul(scale));
}

// One head: the mean of the values so far, weighted by how well their keys match the query.
function attend(query, keys, values) {
  const size = query.length;
  const logits = keys.map((key) => sum(query.map((q, j) => q.mul(key[j]))).div(size ** 0.5)); // (T)
  const weights = softmax(logits); // (T)
  const mixed = query.map((_, j) => sum(weights.map((w, t) => w.mul(values[t][j])))); // (D)
  return [mixed, weights];
}

// One token in: [logits of the next token, attention weights by layer and head] out.
// Shapes: V = vocab_size, C = n_embd, D = C / n_head, T = position + 1.
export function gpt(token, position, cache, weights, { n_embd, n_head }) {
  const head_dim = n_embd / n_head;
  const attention = [];
  let x = weights.wte[token].map((t, i) => t.add(weights.wpe[position][i])); // (C)
  x = rmsnorm(x); // (C)
  for (const [i, [keys, values]] of cache.entries()) {
    const layer = `layer${i}.`;
    // Attention: the only place where one position reads from others.
    let residual = x; // (C)
    x = rmsnorm(x); // (C)
    const query = linear(x, weights[`${layer}attn_wq`]); // (C, C) times (C) -> (C)
    keys.push(linear(x, weights[`${layer}attn_wk`])); // keys are (T, C) now
    values.push(linear(x, weights[`${layer}attn_wv`])); // values too
    const mixed = [];
    const heads = [];
    for (let start = 0; start < n_embd; start += head_dim) {
      const head = (vector) => vector.slice(start, start + head_dim); // (D)
      const [head_mixed, head_weights] = attend(head(query), keys.map(head), values.map(head));
      mixed.push(...head_mixed); // (C) after the last head
      heads.push(head_weights);
    }
    attention.push(heads);
    x = linear(mixed, weights[`${layer}attn_wo`]); // (C, C) times (C) -> (C)
    x = x.map((a, j) => a.add(residual[j])); // (C)
    // Multi-layer perceptron: each position by itself, four times as wide inside.
    residual = x; // (C)
    x = rmsnorm(x); // (C)
    const hidden = linear(x, weights[`${layer}mlp_fc1`]).map((h) => h.relu()); // (4C)
    x = linear(hidden, weights[`${layer}mlp_fc2`]); // (C, 4C) times (4C) -> (C)
    x = x.map((a, j) => a.add(residual[j])); // (C)
  }
  return [linear(x, weights.lm_head), attention]; // (V), n_layer lists of n_head lists (T)
}

// ---- Training -----------------------------------------------------------------------------------
// Mean over positions of -log p(target), in nats. The tokens past a block are left out.
export function document_loss(inputs, targets, weights, config) {
  const cache = empty_cache(config);
  const losses = inputs.slice(0, config.block_size).map((token, position) => {
    const [logits] = gpt(token, position, cache, weights, config);
    return softmax(logits)[targets[position]].log().neg();
  });
  return sum(losses).mul(1 / losses.length);
}

export function learning_rate_at(step, num_steps, learning_rate) {
  return learning_rate * (1 - step / num_steps);
}

function adam(parameters, m, v, step, rate, beta1 = 0.85, beta2 = 0.99, eps = 1e-8) {
  for (const [i, p] of parameters.entries()) {
    m[i] = beta1 * m[i] + (1 - beta1) * p.grad; // running mean of the gradient
    v[i] = beta2 * v[i] + (1 - beta2) * p.grad ** 2; // running mean of its square
    const m_hat = m[i] / (1 - beta1 ** (step + 1)); // both began at zero: remove that bias
    const v_hat = v[i] / (1 - beta2 ** (step + 1));
    p.data -= (rate * m_hat) / (v_hat ** 0.5 + eps);
    p.grad = 0;
  }
}

// ---- Sampling -----------------------------------------------------------------------------------
// The tokens of a new document: draw one, feed it back, until BOS or a full block.
function sample(weights, config, bos, temperature, rng) {
  const cache = empty_cache(config);
  const tokens = [];
  let token = bos;
  for (let position = 0; position < config.block_size; position++) {
    const [logits] = gpt(token, position, cache, weights, config);
    const probabilities = softmax(logits.map((logit) => logit.div(temperature)));
    token = rng.choice(probabilities.map((p) => p.data));
    if (token === bos) break;
    tokens.push(token);
  }
  return tokens;
}

// ---- The whole run ------------------------------------------------------------------------------
export const DEFAULTS = {
  n_layer: 1, // layers, each an attention and a multi-layer perceptron
  n_embd: 16, // width of the residual stream
  n_head: 4, // attention heads in a layer; each is n_embd / n_head wide
  block_size: 16, // maximum number of positions; longer documents are cut
  num_steps: 1000,
  learning_rate: 0.01,
  temperature: 0.5,
  seed: 42,
};

export function main(text, settings = {}, print = console.log) {
  const config = { ...DEFAULTS, ...settings };
  const { num_steps, learning_rate, temperature } = config;
  const rng = new Random(config.seed);
  const documents = read_documents(text);
  rng.shuffle(documents);
  const alphabet = alphabet_of(documents);
  const vocab_size = alphabet.length + 1; // every character, and BOS
  const weights = initial_weights(shapes(vocab_size, config), rng);
  const parameters = parameters_of(weights);
  print(`num docs: ${documents.length}`);
  print(`vocab size: ${vocab_size}`);
  print(`num params: ${parameters.length}`);

  const m = parameters.map(() => 0);
  const v = parameters.map(() => 0);
  const right = (value, width) => String(value).padStart(width);
  for (let step = 0; step < num_steps; step++) {
    const tokens = encode(documents[step % documents.length], alphabet);
    const loss = document_loss(tokens.slice(0, -1), tokens.slice(1), weights, config);
    loss.backward();
    adam(parameters, m, v, step, learning_rate_at(step, num_steps, learning_rate));
    const progress = `step ${right(step + 1, 4)} / ${right(num_steps, 4)}`;
    print(`${progress} | loss ${loss.data.toFixed(4)}`);
  }

  print("\n--- inference (new, hallucinated names) ---");
  for (let i = 0; i < 20; i++) {
    const tokens = sample(weights, config, alphabet.length, temperature, rng);
    print(`sample ${right(i + 1, 2)}: ${tokens.map((token) => alphabet[token]).join("")}`);
  }
}

// In node: is this file the script, or was it imported?
if (globalThis.process?.argv?.[1]) {
  const { existsSync, readFileSync, realpathSync } = await import("node:fs");
  const { pathToFileURL } = await import("node:url");
  const script = process.argv[1];
  if (existsSync(script) && import.meta.url === pathToFileURL(realpathSync(script)).href) {
    const bytes = readFileSync(process.argv[2] ?? "input.txt");
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const settings = process.argv[3] ? { num_steps: Number(process.argv[3]) } : {};
    main(text.replace(/\r\n?/g, "\n"), settings); // as Python's open() reads line ends
  }
}
