// One position at a time, for generation: `reference.gpt` with a cache of keys and values.
//
// A single position has no neighbours to share lanes with, so here the outputs are the lanes, and
// the weights are transposed: [input][output], outputs padded to whole vectors.
#pragma once

#include "tape.hpp"

namespace microgpt::exact::MICROGPT_ISA {

class PositionReader final : public Reader {
public:
    PositionReader(const Shape& s, const double* parameters, bool vector_libm)
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
          transposed_(plus(times(s.n_layer, layer_size_), times(d_, wide_vocab_))),
          keys_(times(s.n_layer, times(d_, wide_block_))),
          values_(times(s.n_layer, times(s.block_size, wide_))),
          work_(4 * wide_ + wide_qkv_ + wide_hidden_ + wide_block_ + lanes),
          logits_(wide_vocab_) {
        for (Index i = 0; i < s.n_layer; i++) {
            const double* w = parameters + s.layers + i * s.layer_size;
            double* to = transposed_.data() + i * layer_size_;
            to = transpose_matrix(w + s.wq, 3 * d_, d_, to),
            to = transpose_matrix(w + s.wo, d_, d_, to);
            to = transpose_matrix(w + s.fc1, s.hidden, d_, to),
            transpose_matrix(w + s.fc2, d_, s.hidden, to);
        }
        transpose_matrix(parameters + s.lm_head, s.vocab_size, d_,
                         transposed_.data() + s.n_layer * layer_size_);
    }

    // reference.gpt for the token at a position.
    void read(std::int32_t token, Index t, Stop& stop) override {
        double *x = work_.data(), *residual = x + wide_, *normed = residual + wide_,
               *mixed = normed + wide_;
        double *qkv = mixed + wide_, *hidden = qkv + wide_qkv_;
        for (Index i = 0; i < d_; i++)
            normed[i] =
                parameters_[shape_.wte + token * d_ + i] + parameters_[shape_.wpe + t * d_ + i];
        rmsnorm(normed, x);
        const double* w = transposed_.data();
        for (Index l = 0; l < shape_.n_layer; l++) {
            rmsnorm(x, normed);
            w = linear(w, wide_qkv_, d_, normed, qkv, stop);
            attend(qkv, l, t, mixed, stop);
            w = linear(w, wide_, d_, mixed, residual, stop);
            for (Index i = 0; i < d_; i++) residual[i] = residual[i] + x[i];
            rmsnorm(residual, normed);
            w = linear(w, wide_hidden_, d_, normed, hidden, stop);
            for (Index i = 0; i < shape_.hidden; i++) hidden[i] = hidden[i] > 0 ? hidden[i] : 0.0;
            w = linear(w, wide_, shape_.hidden, hidden, x, stop);
            for (Index i = 0; i < d_; i++) x[i] = x[i] + residual[i];
        }
        linear(w, wide_vocab_, d_, x, logits_.data(), stop);
    }

    // Overwrites the logits.
    double* probabilities(double temperature) override {
        const double by_temperature = system_libm.pow(temperature, -1.0);
        double* p = logits_.data();
        for (Index o = 0; o < shape_.vocab_size; o++) p[o] = p[o] * by_temperature;
        softmax(p, shape_.vocab_size, p);
        return p;
    }

private:
    // [outputs][inputs] -> [inputs][outputs padded]; returns the end.
    static double* transpose_matrix(const double* w, Index outputs, Index inputs, double* to) {
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
                                double* y, Stop& stop) {
        Index o = 0;
        const auto parts = [&](auto vectors) {
            for (; o + vectors.value * lanes <= wide; o += vectors.value * lanes) {
                linear_part<vectors.value>(w + o, wide, inputs, x, y + o);
                stop.work(vectors.value * lanes * inputs);
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

    // reference.attend for all heads of one position; keys lie as [feature][position], values as
    // [position][feature].
    void attend(const double* qkv, Index layer, Index t, double* mixed, Stop& stop) {
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
            stop.work(2 * shape_.head_dim * (t + 1) + 16 * (t + lanes));
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

    const Shape& shape_;
    const double* parameters_;
    const Libm libm_;
    const Index d_;
    const double one_by_n_embd_, by_root_;
    const Index wide_, wide_qkv_, wide_hidden_, wide_vocab_, wide_block_, layer_size_;
    Buffer<double> transposed_;     // layer by layer wq|wk|wv, wo, fc1, fc2, then lm_head
    Buffer<double> keys_, values_;  // [layer][feature][position], [layer][position][feature]
    Buffer<double> work_, logits_;
};

}  // namespace microgpt::exact::MICROGPT_ISA
