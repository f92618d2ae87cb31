// The page's engine: the reference's arithmetic on typed arrays of float64, without a graph.
// Forward and backward pass are written out by hand, position by position. Every sum has the
// reference's order, except that the key and query rows of the first position are not interleaved.
// It draws no random numbers: documents come as token ids, randomness as coins, which are uniform
// random numbers in [0, 1).

import { learning_rate_at, shapes } from "../editions/microgpt.js";

// y[0 ... rows) = matrix x. Four rows at a time, because four sums need not wait for each other.
function linear(y, y0, w, w0, x, x0, rows, columns) {
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    let a = w0 + row * columns;
    let b = a + columns;
    let c = b + columns;
    let d = c + columns;
    let ya = 0;
    let yb = 0;
    let yc = 0;
    let yd = 0;
    for (let i = x0; i < x0 + columns; i++) {
      const xi = x[i];
      ya += w[a++] * xi;
      yb += w[b++] * xi;
      yc += w[c++] * xi;
      yd += w[d++] * xi;
    }
    y[y0 + row] = ya;
    y[y0 + row + 1] = yb;
    y[y0 + row + 2] = yc;
    y[y0 + row + 3] = yd;
  }
  for (; row < rows; row++) {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += w[w0 + row * columns + i] * x[x0 + i];
    y[y0 + row] = sum;
  }
}

// dx += transposed matrix times dy, and dw += dy times x: from the last row to the first, which is
// the order of the reference's backward pass.
function linear_backward(dx, dy, dy0, w, dw, w0, x, x0, rows, columns) {
  for (let row = rows - 1; row >= 0; row--) {
    const d = dy[dy0 + row];
    const from = w0 + row * columns;
    if (d === 0) continue; // half of the hidden units
    for (let i = 0; i < columns; i++) {
      dx[i] += w[from + i] * d;
      dw[from + i] += x[x0 + i] * d;
    }
  }
}

// y = x / root of its mean square; returns that mean square + 1e-5, which the backward pass needs.
function rmsnorm(y, x, x0, size) {
  let sum = 0;
  for (let i = x0; i < x0 + size; i++) sum += x[i] * x[i];
  const m = sum * (1 / size) + 1e-5;
  const scale = m ** -0.5;
  for (let i = x0; i < x0 + size; i++) y[i] = x[i] * scale;
  return m;
}

// dx += the gradient through rmsnorm.
function rmsnorm_backward(dx, dy, m, x, x0, size) {
  const scale = m ** -0.5;
  let ds = 0;
  for (let i = size - 1; i >= 0; i--) ds += x[x0 + i] * dy[i];
  const g = (1 / size) * (-0.5 * m ** -1.5 * ds);
  for (let i = 0; i < size; i++) dx[i] = dx[i] + scale * dy[i] + x[x0 + i] * g + x[x0 + i] * g;
}

// exps[0 ... count) = e^(logits - highest); returns their sum.
function exponentials(exps, e0, logits, l0, count) {
  let highest = -Infinity;
  let total = 0;
  for (let i = l0; i < l0 + count; i++) if (logits[i] > highest) highest = logits[i];
  for (let i = 0; i < count; i++) total += exps[e0 + i] = Math.exp(logits[l0 + i] - highest);
  return total;
}

export class Engine {
  // config: n_layer, n_embd, n_head, block_size, num_steps, batch_size, learning_rate, beta1,
  // beta2, eps_adam. The names and meanings are those of config.py.
  constructor(config, vocab_size, parameters) {
    Object.assign(this, { config, vocab_size, step: 0 });
    const { n_layer, n_embd: E, n_head, block_size: B } = config;
    this.sizes = shapes(vocab_size, config);
    this.offsets = {}; // matrix name -> index of its first parameter
    let count = 0;
    for (const [name, [rows, columns]] of Object.entries(this.sizes)) {
      this.offsets[name] = count;
      count += rows * columns;
    }
    this.parameters = Float64Array.from(parameters);
    this.gradients = new Float64Array(count);
    this.m = new Float64Array(count);
    this.v = new Float64Array(count);
    const rows = (width) => new Float64Array(B * width); // one row a position
    this.embedded = rows(E); // token + position, before the first rmsnorm
    this.m0 = rows(1);
    this.layers = Array.from({ length: n_layer }, (_, i) => ({
      at: Object.fromEntries(
        ["attn_wq", "attn_wk", "attn_wv", "attn_wo", "mlp_fc1", "mlp_fc2"].map((name) => [
          name,
          this.offsets[`layer${i}.${name}`],
        ]),
      ),
      x: rows(E),
      m1: rows(1),
      xn1: rows(E),
      q: rows(E),
      k: rows(E),
      v: rows(E),
      dk: rows(E),
      dv: rows(E),
      exps: rows(n_head * B),
      totals: rows(n_head), // attention before division by its total, [position][head][earlier]
      mixed: rows(E),
      middle: rows(E),
      m2: rows(1),
      xn2: rows(E),
      hidden: rows(4 * E),
    }));
    this.last = rows(E); // what lm_head reads
    this.logits = rows(vocab_size);
    this.exps = rows(vocab_size);
    this.totals = rows(1);
    this.scratch = new Float64Array(B); // one head's row of attention
    this.back = {
      // Gradients of one position's vectors. Allocating them per position costs a fifth of a step.
      dx: new Float64Array(E),
      dy: new Float64Array(E),
      dq: new Float64Array(E),
      dmixed: new Float64Array(E),
      dhidden: new Float64Array(4 * E),
      dlogits: new Float64Array(vocab_size),
    };
  }

  // The logits of one position into this.logits, given the earlier positions of the same document.
  forward(token, t) {
    const { n_embd: E, n_layer } = this.config;
    const p = this.parameters;
    const here = t * E;
    const wte = this.offsets.wte + token * E;
    const wpe = this.offsets.wpe + here;
    for (let i = 0; i < E; i++) this.embedded[here + i] = p[wte + i] + p[wpe + i];
    this.m0[t] = rmsnorm(this.layers[0].x, this.embedded, here, E);
    for (let l = 0; l < n_layer; l++) {
      const layer = this.layers[l];
      const { at } = layer;
      layer.m1[t] = rmsnorm(layer.xn1, layer.x, here, E);
      linear(layer.q, here, p, at.attn_wq, layer.xn1, here, E, E);
      linear(layer.k, here, p, at.attn_wk, layer.xn1, here, E, E);
      linear(layer.v, here, p, at.attn_wv, layer.xn1, here, E, E);
      this.attend(layer, t);
      linear(layer.middle, here, p, at.attn_wo, layer.mixed, here, E, E);
      for (let i = here; i < here + E; i++) layer.middle[i] += layer.x[i];
      layer.m2[t] = rmsnorm(layer.xn2, layer.middle, here, E);
      linear(layer.hidden, 4 * here, p, at.mlp_fc1, layer.xn2, here, 4 * E, E);
      for (let i = 4 * here; i < 4 * (here + E); i++)
        if (!(layer.hidden[i] > 0)) layer.hidden[i] = 0;
      const next = l + 1 < n_layer ? this.layers[l + 1].x : this.last;
      linear(next, here, p, at.mlp_fc2, layer.hidden, 4 * here, E, 4 * E);
      for (let i = here; i < here + E; i++) next[i] += layer.middle[i];
    }
    linear(
      this.logits,
      t * this.vocab_size,
      p,
      this.offsets.lm_head,
      this.last,
      here,
      this.vocab_size,
      E,
    );
  }

  attend(layer, t) {
    const { n_embd: E, n_head, block_size: B } = this.config;
    const size = E / n_head;
    const scale = (size ** 0.5) ** -1;
    const logits = this.scratch;
    for (let h = 0; h < n_head; h++) {
      const head = h * size;
      const mine = t * E + head;
      const e0 = (t * n_head + h) * B;
      for (let u = 0; u <= t; u++) {
        let sum = 0;
        for (let j = 0; j < size; j++) sum += layer.q[mine + j] * layer.k[u * E + head + j];
        logits[u] = sum * scale;
      }
      const total = exponentials(layer.exps, e0, logits, 0, t + 1);
      const inverse = 1 / total;
      layer.totals[t * n_head + h] = total;
      for (let j = 0; j < size; j++) {
        let sum = 0;
        for (let u = 0; u <= t; u++)
          sum += layer.exps[e0 + u] * inverse * layer.v[u * E + head + j];
        layer.mixed[mine + j] = sum;
      }
    }
  }

  // Mean over positions of -log p(next token); leaves in place what backward() needs.
  document_loss(tokens) {
    const V = this.vocab_size;
    const n = Math.min(this.config.block_size, tokens.length - 1);
    let sum = 0;
    for (let t = 0; t < n; t++) {
      this.forward(tokens[t], t);
      this.totals[t] = exponentials(this.exps, t * V, this.logits, t * V, V);
      sum += -Math.log(this.exps[t * V + tokens[t + 1]] * (1 / this.totals[t]));
    }
    return sum * (1 / n);
  }

  // Add share * d document_loss / d parameter to this.gradients, for the document just seen.
  backward(tokens, share) {
    const { n_embd: E, n_layer } = this.config;
    const V = this.vocab_size;
    const { parameters: p, gradients: g } = this;
    const n = Math.min(this.config.block_size, tokens.length - 1);
    for (const layer of this.layers)
      for (const rows of [layer.dk, layer.dv]) rows.fill(0, 0, n * E);
    const { dx, dy, dlogits } = this.back;
    const first = -1 * (1 / n) * share;
    for (let t = n - 1; t >= 0; t--) {
      const here = t * E;
      const y = tokens[t + 1];
      const total = this.totals[t];
      const inverse = 1 / total;
      const e_y = this.exps[t * V + y];
      const dp = (1 / (e_y * inverse)) * first;
      const dtotal = -1 * total ** -2 * (e_y * dp);
      for (let o = 0; o < V; o++)
        dlogits[o] = this.exps[t * V + o] * (o === y ? inverse * dp + dtotal : dtotal);
      dx.fill(0);
      linear_backward(dx, dlogits, 0, p, g, this.offsets.lm_head, this.last, here, V, E);
      for (let l = n_layer - 1; l >= 0; l--) this.layer_backward(this.layers[l], t, dx);
      dy.fill(0);
      rmsnorm_backward(dy, dx, this.m0[t], this.embedded, here, E);
      const wte = this.offsets.wte + tokens[t] * E;
      const wpe = this.offsets.wpe + here;
      for (let i = 0; i < E; i++) {
        g[wte + i] += dy[i];
        g[wpe + i] += dy[i];
      }
    }
  }

  // dx: in, the gradient by the layer's output at position t; out, by its input.
  layer_backward(layer, t, dx) {
    const E = this.config.n_embd;
    const here = t * E;
    const { at } = layer;
    const { parameters: p, gradients: g } = this;
    const { dy, dq, dmixed, dhidden } = this.back;
    for (const gradient of [dy, dq, dmixed, dhidden]) gradient.fill(0);
    linear_backward(dhidden, dx, 0, p, g, at.mlp_fc2, layer.hidden, 4 * here, E, 4 * E);
    for (let i = 0; i < 4 * E; i++) if (layer.hidden[4 * here + i] === 0) dhidden[i] = 0;
    linear_backward(dy, dhidden, 0, p, g, at.mlp_fc1, layer.xn2, here, 4 * E, E);
    rmsnorm_backward(dx, dy, layer.m2[t], layer.middle, here, E);
    linear_backward(dmixed, dx, 0, p, g, at.attn_wo, layer.mixed, here, E, E);
    this.attend_backward(layer, t, dmixed, dq);
    dy.fill(0);
    linear_backward(dy, layer.dv, here, p, g, at.attn_wv, layer.xn1, here, E, E);
    linear_backward(dy, layer.dk, here, p, g, at.attn_wk, layer.xn1, here, E, E);
    linear_backward(dy, dq, 0, p, g, at.attn_wq, layer.xn1, here, E, E);
    rmsnorm_backward(dx, dy, layer.m1[t], layer.x, here, E);
  }

  // Adds to dq, and to dk and dv of this and earlier positions.
  attend_backward(layer, t, dmixed, dq) {
    const { n_embd: E, n_head, block_size: B } = this.config;
    const size = E / n_head;
    const scale = (size ** 0.5) ** -1;
    const { q, k, v, dk, dv, exps } = layer;
    const dweights = this.scratch;
    for (let h = n_head - 1; h >= 0; h--) {
      const head = h * size;
      const mine = t * E + head;
      const e0 = (t * n_head + h) * B;
      const total = layer.totals[t * n_head + h];
      const inverse = 1 / total;
      const slope = -1 * total ** -2;
      let dtotal = 0;
      for (let u = t; u >= 0; u--) {
        const its = u * E + head;
        const weight = exps[e0 + u] * inverse;
        let d = 0;
        for (let j = size - 1; j >= 0; j--) {
          d += v[its + j] * dmixed[head + j];
          dv[its + j] += weight * dmixed[head + j];
        }
        dweights[u] = d;
        dtotal += slope * (exps[e0 + u] * d);
      }
      for (let u = t; u >= 0; u--) {
        const its = u * E + head;
        const d = exps[e0 + u] * (inverse * dweights[u] + dtotal) * scale;
        for (let j = 0; j < size; j++) {
          dq[head + j] += k[its + j] * d;
          dk[its + j] += q[mine + j] * d;
        }
      }
    }
  }

  // Mean loss of some documents, its gradient in this.gradients.
  loss_and_gradients(batch) {
    let sum = 0;
    this.gradients.fill(0);
    for (const tokens of batch) {
      sum += this.document_loss(tokens);
      this.backward(tokens, 1 / batch.length);
    }
    return sum * (1 / batch.length);
  }

  // One update by Adam; returns the loss before it. A loss that is not finite changes nothing.
  train(batch) {
    const { learning_rate, num_steps, beta1, beta2, eps_adam } = this.config;
    const { parameters, gradients, m, v } = this;
    const loss = this.loss_and_gradients(batch);
    if (!Number.isFinite(loss)) return loss;
    const rate = learning_rate_at(this.step, num_steps, learning_rate);
    const unbias_m = 1 - beta1 ** (this.step + 1);
    const unbias_v = 1 - beta2 ** (this.step + 1);
    for (let i = 0; i < parameters.length; i++) {
      const g = gradients[i];
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * (g * g);
      parameters[i] -= (rate * (m[i] / unbias_m)) / (Math.sqrt(v[i] / unbias_v) + eps_adam);
    }
    this.step++;
    return loss;
  }

  // What Adam would subtract from parameter i next, given its gradient now.
  adam_step(i) {
    const { learning_rate, num_steps, beta1, beta2, eps_adam } = this.config;
    const g = this.gradients[i];
    const m = beta1 * this.m[i] + (1 - beta1) * g;
    const v = beta2 * this.v[i] + (1 - beta2) * g * g;
    const rate = learning_rate_at(this.step, num_steps, learning_rate);
    return (
      (rate * (m / (1 - beta1 ** (this.step + 1)))) /
      (Math.sqrt(v / (1 - beta2 ** (this.step + 1))) + eps_adam)
    );
  }

  // Probabilities of the token after position t, from the logits that forward() left there.
  probabilities(t, temperature = 1) {
    const V = this.vocab_size;
    const exps = new Float64Array(V);
    const inverse_temperature = temperature ** -1;
    const total = exponentials(
      exps,
      0,
      this.logits.subarray(t * V, t * V + V).map((logit) => logit * inverse_temperature),
      0,
      V,
    );
    return exps.map((e) => e * (1 / total));
  }

  // New documents as token ids. coin() is uniform in [0, 1), one for each token drawn.
  // top_k: keep the k most probable tokens, 0 for all; ties: lower id first.
  generate(coin, temperature, top_k) {
    const tokens = [];
    const bos = this.vocab_size - 1;
    for (let t = 0, token = bos; t < this.config.block_size; t++) {
      this.forward(token, t);
      const sums = truncate(this.probabilities(t, temperature), top_k);
      for (let i = 1; i < sums.length; i++) sums[i] += sums[i - 1];
      const drawn = coin() * sums[sums.length - 1];
      const found = sums.findIndex((sum) => drawn < sum);
      token = found < 0 ? bos : found;
      if (token === bos) break;
      tokens.push(token);
    }
    return tokens;
  }

  // One document seen from inside: probabilities, attention weights and hidden units by position.
  trace(tokens) {
    const { n_head, n_embd: E, block_size: B } = this.config;
    const n = Math.min(B, tokens.length - 1);
    for (let t = 0; t < n; t++) this.forward(tokens[t], t);
    const each = (count, make) => Array.from({ length: count }, (_, i) => make(i));
    return {
      probabilities: each(n, (t) => Array.from(this.probabilities(t))),
      attention: this.layers.map(
        (
          layer, // [layer][head][position][earlier position]
        ) =>
          each(n_head, (h) =>
            each(n, (t) =>
              each(
                t + 1,
                (u) => layer.exps[(t * n_head + h) * B + u] * (1 / layer.totals[t * n_head + h]),
              ),
            ),
          ),
      ),
      hidden: this.layers.map((layer) =>
        each(n, (t) => Array.from(layer.hidden.subarray(4 * E * t, 4 * E * (t + 1)))),
      ),
    };
  }
}

function truncate(probabilities, top_k) {
  if (!top_k || top_k >= probabilities.length) return probabilities;
  const ranked = [...probabilities.keys()].sort(
    (a, b) => probabilities[b] - probabilities[a] || a - b,
  );
  for (const token of ranked.slice(top_k)) probabilities[token] = 0;
  return probabilities;
}
