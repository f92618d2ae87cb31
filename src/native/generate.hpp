// One position at a time: new documents from coins. `reference.sample` with the extras of the
// contract.
//
// A single position has no neighbours to share lanes with, so here outputs are the lanes, and the
// weights stand turned round: [input][output], outputs padded to whole vectors.
#pragma once

#include "tape.hpp"

namespace microgpt::MICROGPT_ISA {

// Token ids, most probable first, ties by lower id: a merge sort, which is stable and safe with
// NaN.
inline void rank(const double* p, Index count, std::int32_t* ids, std::int32_t* scratch) {
    for (Index i = 0; i < count; i++) ids[i] = static_cast<std::int32_t>(i);
    for (Index width = 1; width < count; width *= 2) {
        for (Index low = 0; low < count; low += 2 * width) {
            const Index middle = low + width < count ? low + width : count;
            const Index high = low + 2 * width < count ? low + 2 * width : count;
            Index left = low, right = middle;
            for (Index to = low; to < high; to++) {
                const bool take_right =
                    left >= middle || (right < high && p[ids[right]] > p[ids[left]]);
                scratch[to] = take_right ? ids[right++] : ids[left++];
            }
        }
        std::memcpy(ids, scratch, sizeof(std::int32_t) * count);
    }
}

class Generator {
public:
    Generator(const Shape& s, const double* parameters, bool vector_libm)
        : shape_(s),
          parameters_(parameters),
          libm_{vector_libm},
          d_(s.n_embd),
          one_by_n_embd_(system_libm.pow(static_cast<double>(s.n_embd), -1.0)),
          by_root_(system_libm.pow(system_libm.pow(static_cast<double>(s.head_dim), 0.5), -1.0)),
          wide_(whole_vectors(s.n_embd)),
          wide_qkv_(whole_vectors(3 * s.n_embd)),
          wide_hidden_(whole_vectors(s.hidden)),
          wide_vocab_(whole_vectors(s.vocab_size)),
          wide_block_(whole_vectors(s.block_size)),
          layer_size_(d_ * (wide_qkv_ + wide_ + wide_hidden_) + s.hidden * wide_),
          turned_(plus(times(s.n_layer, layer_size_), times(d_, wide_vocab_))),
          keys_(times(s.n_layer, times(d_, wide_block_))),
          values_(times(s.n_layer, times(s.block_size, wide_))),
          work_(4 * wide_ + wide_qkv_ + wide_hidden_ + wide_block_ + lanes),
          sums_(wide_vocab_),
          first_(wide_vocab_),
          ranked_(s.vocab_size),
          merged_(s.vocab_size),
          drawn_(s.block_size) {
        for (Index i = 0; i < s.n_layer; i++) {
            const double* w = parameters + s.layers + i * s.layer_size;
            double* to = turned_.data() + i * layer_size_;
            to = turn(w + s.wq, 3 * d_, d_, to), to = turn(w + s.wo, d_, d_, to);
            to = turn(w + s.fc1, s.hidden, d_, to), turn(w + s.fc2, d_, s.hidden, to);
        }
        turn(parameters + s.lm_head, s.vocab_size, d_, turned_.data() + s.n_layer * layer_size_);
    }

    // See Engine::generate.
    Index generate(Index count, const double* coins, Index coin_count, const std::int32_t* start,
                   Index prefix_length, const Sampling& sampling, std::int32_t* tokens,
                   Index* lengths, Index& used, Poll& poll) {
        const Index longest = shape_.block_size - prefix_length;
        const std::int32_t bos = static_cast<std::int32_t>(shape_.vocab_size - 1);
        Index made = 0;
        used = 0;
        try {
            poll.now();
            // The start is common to all documents: its keys, values and first sums are made once.
            for (Index t = 0; t <= prefix_length; t++) position(start[t], t, poll);
            distribution(sampling, first_.data());
            while (made < count && coin_count - used >= longest) {
                Index length = 0;
                for (Index t = prefix_length; t < shape_.block_size; t++) {
                    if (t > prefix_length) {
                        position(drawn_[length - 1], t, poll);
                        distribution(sampling, sums_.data());
                    }
                    const double* sums = t > prefix_length ? sums_.data() : first_.data();
                    const std::int32_t token = draw(sums, coins[used + t - prefix_length]);
                    drawn_[length++] = token;
                    if (token == bos) break;
                }
                used += length;
                if (drawn_[length - 1] == bos) length--;
                lengths[made++] = prefix_length + length;
                for (Index t = 1; t <= prefix_length; t++) *tokens++ = start[t];
                for (Index t = 0; t < length; t++) *tokens++ = drawn_[t];
            }
        } catch (const Stopped&) {
        }
        return made;
    }

private:
    // [outputs][inputs] -> [inputs][outputs padded]; returns the end.
    static double* turn(const double* w, Index outputs, Index inputs, double* to) {
        const Index wide = whole_vectors(outputs);
        for (Index o = 0; o < outputs; o++)
            for (Index i = 0; i < inputs; i++) to[i * wide + o] = w[o * inputs + i];
        return to + inputs * wide;
    }

    // reference.linear for one position: y[o] = fold over i ascending of w[i][o] * x[i].
    template <int vectors>
    static void linear_part(const double* w, Index wide, Index inputs, const double* x, double* y) {
        Vec sum[vectors] = {};
        for (Index i = 0; i < inputs; i++)
            for (int v = 0; v < vectors; v++)
                sum[v] = sum[v] + load(w + i * wide + v * lanes) * broadcast(x[i]);
        for (int v = 0; v < vectors; v++) store(y + v * lanes, sum[v]);
    }
    static const double* linear(const double* w, Index wide, Index inputs, const double* x,
                                double* y, Poll& poll) {
        Index o = 0;
        const auto parts = [&](auto vectors) {
            for (; o + vectors.value * lanes <= wide; o += vectors.value * lanes) {
                linear_part<vectors.value>(w + o, wide, inputs, x, y + o);
                poll.work(vectors.value * lanes * inputs);
            }
        };
        parts(Count<8>{}), parts(Count<4>{}), parts(Count<2>{}), parts(Count<1>{});
        return w + inputs * wide;
    }

    void rmsnorm(const double* x, double* y) const {
        double sum = 0;
        for (Index i = 0; i < d_; i++) sum = sum + x[i] * x[i];
        const double scale = libm_.pow(broadcast(sum * one_by_n_embd_ + 1e-5), -0.5)[0];
        for (Index i = 0; i < d_; i++) y[i] = x[i] * scale;
    }

    // reference.gpt for the token at a position; logits are left in logits_of().
    void position(Index token, Index t, Poll& poll) {
        double *x = work_.data(), *residual = x + wide_, *normed = residual + wide_,
               *mixed = normed + wide_;
        double *qkv = mixed + wide_, *hidden = qkv + wide_qkv_;
        for (Index i = 0; i < d_; i++)
            normed[i] =
                parameters_[shape_.wte + token * d_ + i] + parameters_[shape_.wpe + t * d_ + i];
        rmsnorm(normed, x);
        const double* w = turned_.data();
        for (Index l = 0; l < shape_.n_layer; l++) {
            rmsnorm(x, normed);
            w = linear(w, wide_qkv_, d_, normed, qkv, poll);
            attend(qkv, l, t, mixed, poll);
            w = linear(w, wide_, d_, mixed, residual, poll);
            for (Index i = 0; i < d_; i++) residual[i] = residual[i] + x[i];
            rmsnorm(residual, normed);
            w = linear(w, wide_hidden_, d_, normed, hidden, poll);
            for (Index i = 0; i < shape_.hidden; i++) hidden[i] = hidden[i] > 0 ? hidden[i] : 0.0;
            w = linear(w, wide_, shape_.hidden, hidden, x, poll);
            for (Index i = 0; i < d_; i++) x[i] = x[i] + residual[i];
        }
        linear(w, wide_vocab_, d_, x, sums_.data(), poll);
    }

    // reference.attend for all heads of one position; keys lie as [feature][position], values as
    // [position][feature].
    void attend(const double* qkv, Index layer, Index t, double* mixed, Poll& poll) {
        double* keys = keys_.data() + layer * d_ * wide_block_;
        double* values = values_.data() + layer * shape_.block_size * wide_;
        double* weights = work_.data() + 4 * wide_ + wide_qkv_ + wide_hidden_;
        for (Index i = 0; i < d_; i++) {
            keys[i * wide_block_ + t] = qkv[d_ + i];
            values[t * wide_ + i] = qkv[2 * d_ + i];
            mixed[i] = 0;
        }
        for (Index first = 0; first < d_; first += shape_.head_dim) {
            const Index last = first + shape_.head_dim;
            for (Index u = 0; u <= t; u += lanes) {
                Vec sum{};
                for (Index j = first; j < last; j++)
                    sum = sum + broadcast(qkv[j]) * load(keys + j * wide_block_ + u);
                store(weights + u, sum * by_root_);
            }
            softmax(weights, t + 1, weights);
            for (Index u = 0; u <= t; u++)
                for (Index j = first; j < last; j++)
                    mixed[j] = mixed[j] + weights[u] * values[u * wide_ + j];
            poll.work(2 * shape_.head_dim * (t + 1) + 16 * (t + lanes));
        }
    }

    // May write past `count`, to the end of the last vector.
    void softmax(const double* logits, Index count, double* p) const {
        double highest = logits[0], total = 0;
        for (Index i = 1; i < count; i++) highest = logits[i] > highest ? logits[i] : highest;
        for (Index i = 0; i < count; i += lanes)
            store(p + i, libm_.exp(load(logits + i) - highest));
        for (Index i = 0; i < count; i++) total = total + p[i];
        const double inverse = libm_.pow(broadcast(total), -1)[0];
        for (Index i = 0; i < count; i++) p[i] = p[i] * inverse;
    }

    // From the logits in sums_ to running sums of the probabilities that top_k and top_p leave.
    void distribution(const Sampling& sampling, double* sums) {
        const Index vocab = shape_.vocab_size;
        const double by_temperature = system_libm.pow(sampling.temperature, -1.0);
        double* p = sums_.data();
        for (Index o = 0; o < vocab; o++) p[o] = p[o] * by_temperature;
        softmax(p, vocab, p);
        if (sampling.top_k || sampling.top_p < 1.0) truncate(sampling, p);
        sums[0] = p[0];
        for (Index o = 1; o < vocab; o++) sums[o] = sums[o - 1] + p[o];
    }

    // Sets to zero what the sampling leaves out.
    void truncate(const Sampling& sampling, double* p) {
        const Index vocab = shape_.vocab_size;
        rank(p, vocab, ranked_.data(), merged_.data());
        Index kept = sampling.top_k && sampling.top_k < vocab ? sampling.top_k : vocab;
        if (sampling.top_p < 1.0) {
            double sum = p[ranked_[0]];
            Index enough = 0;
            while (enough + 1 < kept && !(sum >= sampling.top_p)) sum = sum + p[ranked_[++enough]];
            kept = enough + 1;
        }
        for (Index i = kept; i < vocab; i++) p[ranked_[i]] = 0;
    }

    // random.choices: the first token whose running sum exceeds coin * total.
    std::int32_t draw(const double* sums, double coin) const {
        const double x = coin * (sums[shape_.vocab_size - 1] + 0.0);
        Index low = 0, high = shape_.vocab_size - 1;
        while (low < high) {
            const Index middle = (low + high) / 2;
            if (x < sums[middle])
                high = middle;
            else
                low = middle + 1;
        }
        return static_cast<std::int32_t>(low);
    }

    const Shape& shape_;
    const double* parameters_;
    const Libm libm_;
    const Index d_;
    const double one_by_n_embd_, by_root_;
    const Index wide_, wide_qkv_, wide_hidden_, wide_vocab_, wide_block_, layer_size_;
    Buffer<double> turned_;         // layer by layer wq|wk|wv, wo, fc1, fc2, then lm_head
    Buffer<double> keys_, values_;  // [layer][feature][position], [layer][position][feature]
    Buffer<double> work_, sums_, first_;
    Buffer<std::int32_t> ranked_, merged_, drawn_;
};

}  // namespace microgpt::MICROGPT_ISA
