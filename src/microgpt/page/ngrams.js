// N-gram models to compare with, as in ngrams.py: interpolated Witten-Bell smoothing (Chen and
// Goodman 1999, section 2.5).
//     p(w | h) = (c(h w) + T(h) * p(w | h')) / (c(h) + T(h)),  down to the uniform distribution.

const LONGEST = 4; // earlier tokens that the 5-gram uses

export class NGrams {
  constructor(documents, vocab_size) {
    // documents: token ids, BOS on both sides
    this.vocab_size = vocab_size;
    this.longer = new Map(); // history * vocab_size + token before -> the history with that token
    this.counts = new Map(); // history * vocab_size + next token -> count
    this.totals = [0]; // by history; history 0 is the empty one
    this.kinds = [0]; // different tokens seen after it
    for (const tokens of documents) {
      for (let t = 1; t < tokens.length; t++) {
        for (let n = 0, history = 0; ; n++) {
          const key = history * vocab_size + tokens[t];
          const count = this.counts.get(key) ?? 0;
          this.counts.set(key, count + 1);
          this.totals[history]++;
          if (!count) this.kinds[history]++;
          if (n === LONGEST || n === t) break;
          history = this.extend(history, tokens[t - n - 1]);
        }
      }
    }
  }

  extend(history, token) {
    const key = history * this.vocab_size + token;
    let longer = this.longer.get(key);
    if (longer === undefined) {
      longer = this.totals.length;
      this.longer.set(key, longer);
      this.totals.push(0);
      this.kinds.push(0);
    }
    return longer;
  }

  // Mean loss in nats a token over documents: { uniform, "2-gram", "5-gram" }.
  losses(documents, block_size) {
    let uniform = 0;
    let bigram = 0;
    let longest = 0;
    let count = 0;
    for (const tokens of documents) {
      for (let t = 1; t <= Math.min(block_size, tokens.length - 1); t++, count++) {
        let p = 1 / this.vocab_size;
        let second = p;
        uniform -= Math.log(p);
        for (let n = 0, history = 0; history !== undefined; n++) {
          const kinds = this.kinds[history];
          p =
            ((this.counts.get(history * this.vocab_size + tokens[t]) ?? 0) + kinds * p) /
            (this.totals[history] + kinds);
          if (n <= 1) second = p;
          if (n === LONGEST || n === t) break;
          history = this.longer.get(history * this.vocab_size + tokens[t - n - 1]);
        }
        bigram -= Math.log(second);
        longest -= Math.log(p);
      }
    }
    return { uniform: uniform / count, "2-gram": bigram / count, "5-gram": longest / count };
  }
}
