// The complete algorithm in JavaScript: a GPT that learns a list of short strings and makes up new ones.
//
//     node editions/microgpt.js [FILE]        one document a line; input.txt when no file is named
//
// One module without dependencies, for node and browsers. It is reference.py function by function, under
// the same names, with Python's own random generator, so it draws the same weights, the same order of
// documents and the same samples, and prints what reference.py prints, character for character. It does
// not claim the same bits: exp, log and pow are the JavaScript engine's, and may differ in the last one.

// ---- Randomness: Python's random.Random, a Mersenne Twister (Matsumoto and Nishimura 1998) --------------

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

  random() {
    // 53 random bits in [0, 1)
    const high = this.word() >>> 5,
      low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  below(n) {
    // uniform in 0 ... n - 1: draws as many bits as n has until they fit; n < 2**31
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

  choice(weights) {
    // an index, as often as its weight says
    const sums = [];
    for (const weight of weights) sums.push((sums.at(-1) ?? 0) + weight);
    const coin = this.random() * sums.at(-1);
    const found = sums.findIndex((sum) => coin < sum);
    return found < 0 ? sums.length - 1 : found;
  }
}

// ---- Documents and tokens ------------------------------------------------------------------------

// White space as Python's str.strip() sees it: \s and the separators 1C-1F and 85, but not the mark FEFF.
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

export function alphabet_of(documents) {
  // in code point order; a string's own order is by UTF-16 units
  const characters = new Set();
  for (const document of documents) for (const character of document) characters.add(character);
  return [...characters].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
}

export function encode(document, alphabet) {
  const bos = alphabet.length;
  return [bos, ...Array.from(document, (character) => alphabet.indexOf(character)), bos];
}

// ---- Gradients: every number remembers what it was computed from ---------------------------------

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

  pow(exponent) {
    // the exponent is a plain number
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

  // The rest is made of these, as in reference.py: how it is made decides which roundings happen.
  neg() {
    return this.mul(-1);
  }
  sub(other) {
    return this.add(other instanceof Value ? other.neg() : -other);
  }
  div(other) {
    return this.mul(other instanceof Value ? other.pow(-1) : other ** -1);
  }

  backward() {
    // reverse topological order: depth first, inputs left to right
    const order = [],
      stack = [this],
      next_input = [0],
      pass = ++passes;
    this.pass = pass;
    while (stack.length) {
      const node = stack.at(-1),
        i = next_input[next_input.length - 1]++;
      if (i === node.inputs.length) {
        // all inputs are in the order already
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

function sum(values) {
  // Python starts from 0, and so does this: one more node
  let total = values[0].add(0);
  for (let i = 1; i < values.length; i++) total = total.add(values[i]);
  return total;
}

// ---- The model -----------------------------------------------------------------------------------

export function shapes(vocab_size, n_layer, n_embd, block_size) {
  const sizes = {
    wte: [vocab_size, n_embd],
    wpe: [block_size, n_embd],
    lm_head: [vocab_size, n_embd],
  };
  for (let i = 0; i < n_layer; i++) {
    for (const name of ["attn_wq", "attn_wk", "attn_wv", "attn_wo"])
      sizes[`layer${i}.${name}`] = [n_embd, n_embd];
    sizes[`layer${i}.mlp_fc1`] = [4 * n_embd, n_embd];
    sizes[`layer${i}.mlp_fc2`] = [n_embd, 4 * n_embd];
  }
  return sizes;
}

// Matrices of Values, row by row; `draw` gives the next number: a Gaussian, or one already trained.
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

export class Cache {
  // what the positions of one document leave for later ones, layer by layer
  constructor(n_layer) {
    this.keys = Array.from({ length: n_layer }, () => []); // [layer][position], n_embd long
    this.values = Array.from({ length: n_layer }, () => []); // likewise
  }
}

function linear(x, matrix) {
  return matrix.map((row) => sum(row.map((w, i) => w.mul(x[i]))));
}

export function softmax(logits) {
  const highest = logits.reduce(
    (most, logit) => (logit.data > most ? logit.data : most),
    -Infinity,
  ); // without gradient
  const exps = logits.map((logit) => logit.sub(highest).exp());
  const total = sum(exps);
  return exps.map((e) => e.div(total));
}

function rmsnorm(x) {
  const mean_square = sum(x.map((xi) => xi.mul(xi))).div(x.length);
  const scale = mean_square.add(1e-5).pow(-0.5);
  return x.map((xi) => xi.mul(scale));
}

function attend(query, keys, values) {
  // one head: mix the values by how well their keys fit the query
  const size = query.length; // head_dim = n_embd / n_head
  const logits = keys.map((key) => sum(query.map((q, j) => q.mul(key[j]))).div(size ** 0.5));
  const weights = softmax(logits);
  return query.map((_, j) => sum(weights.map((w, t) => w.mul(values[t][j]))));
}

export function gpt(token, position, cache, weights, n_head) {
  // logits over the token that comes next
  let x = weights.wte[token].map((t, i) => t.add(weights.wpe[position][i]));
  x = rmsnorm(x);
  const head_dim = x.length / n_head;
  for (let i = 0; i < cache.keys.length; i++) {
    const layer = `layer${i}.`;
    // Attention: the only place where positions see each other.
    let residual = x;
    x = rmsnorm(x);
    const query = linear(x, weights[`${layer}attn_wq`]);
    cache.keys[i].push(linear(x, weights[`${layer}attn_wk`]));
    cache.values[i].push(linear(x, weights[`${layer}attn_wv`]));
    const mixed = [];
    for (let start = 0; start < x.length; start += head_dim) {
      const head = (vector) => vector.slice(start, start + head_dim);
      mixed.push(...attend(head(query), cache.keys[i].map(head), cache.values[i].map(head)));
    }
    x = linear(mixed, weights[`${layer}attn_wo`]).map((a, j) => a.add(residual[j]));
    // Multi-layer perceptron: four times as wide inside, each position by itself.
    residual = x;
    x = rmsnorm(x);
    const hidden = linear(x, weights[`${layer}mlp_fc1`]).map((h) => h.relu());
    x = linear(hidden, weights[`${layer}mlp_fc2`]).map((a, j) => a.add(residual[j]));
  }
  return linear(x, weights.lm_head);
}

// ---- Training ------------------------------------------------------------------------------------

export function document_loss(tokens, weights, n_layer, n_head, block_size) {
  const n = Math.min(block_size, tokens.length - 1);
  const cache = new Cache(n_layer),
    losses = [];
  for (let position = 0; position < n; position++) {
    const probabilities = softmax(gpt(tokens[position], position, cache, weights, n_head));
    losses.push(probabilities[tokens[position + 1]].log().neg());
  }
  return sum(losses).mul(1 / n); // mean of -log p(next token), in nats
}

export function learning_rate_at(step, num_steps, learning_rate) {
  return learning_rate * (1 - step / num_steps);
}

function adam(parameters, m, v, step, rate, beta1 = 0.85, beta2 = 0.99, eps = 1e-8) {
  parameters.forEach((p, i) => {
    m[i] = beta1 * m[i] + (1 - beta1) * p.grad; // running mean of the gradient
    v[i] = beta2 * v[i] + (1 - beta2) * p.grad ** 2; // and of its square
    const m_hat = m[i] / (1 - beta1 ** (step + 1)); // both started at zero: undo that bias
    const v_hat = v[i] / (1 - beta2 ** (step + 1));
    p.data -= (rate * m_hat) / (v_hat ** 0.5 + eps);
    p.grad = 0;
  });
}

// ---- Sampling ------------------------------------------------------------------------------------

function sample(weights, n_layer, n_head, block_size, bos, temperature, rng) {
  const cache = new Cache(n_layer),
    tokens = [];
  let token = bos;
  for (let position = 0; position < block_size; position++) {
    const logits = gpt(token, position, cache, weights, n_head);
    const probabilities = softmax(logits.map((logit) => logit.div(temperature)));
    token = rng.choice(probabilities.map((p) => p.data));
    if (token === bos) break;
    tokens.push(token);
  }
  return tokens;
}

// ---- The whole run -------------------------------------------------------------------------------

export const DEFAULTS = {
  n_layer: 1,
  n_embd: 16,
  n_head: 4,
  block_size: 16,
  num_steps: 1000,
  learning_rate: 0.01,
  temperature: 0.5,
  seed: 42,
};

export function main(text, settings = {}, print = console.log) {
  const { n_layer, n_embd, n_head, block_size, num_steps, learning_rate, temperature, seed } = {
    ...DEFAULTS,
    ...settings,
  };
  const rng = new Random(seed);
  const documents = read_documents(text);
  rng.shuffle(documents);
  const alphabet = alphabet_of(documents);
  const vocab_size = alphabet.length + 1; // every character, and BOS
  const weights = initial_weights(shapes(vocab_size, n_layer, n_embd, block_size), rng);
  const parameters = parameters_of(weights);
  print(
    `num docs: ${documents.length}\nvocab size: ${vocab_size}\nnum params: ${parameters.length}`,
  );

  const m = parameters.map(() => 0),
    v = parameters.map(() => 0),
    width = 4;
  for (let step = 0; step < num_steps; step++) {
    const tokens = encode(documents[step % documents.length], alphabet);
    const loss = document_loss(tokens, weights, n_layer, n_head, block_size);
    loss.backward();
    adam(parameters, m, v, step, learning_rate_at(step, num_steps, learning_rate));
    print(
      `step ${`${step + 1}`.padStart(width)} / ${`${num_steps}`.padStart(width)} | loss ${loss.data.toFixed(4)}`,
    );
  }

  print("\n--- inference (new, hallucinated names) ---");
  for (let i = 0; i < 20; i++) {
    const tokens = sample(weights, n_layer, n_head, block_size, alphabet.length, temperature, rng);
    print(`sample ${`${i + 1}`.padStart(2)}: ${tokens.map((token) => alphabet[token]).join("")}`);
  }
}

if (globalThis.process?.argv?.[1]) {
  // in node: is this file the script, or was it imported?
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
