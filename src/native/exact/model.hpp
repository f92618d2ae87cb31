// The exact engine: forward, backward and training steps of one model, bit for bit the numbers of
// reference.py. Each function names the reference function it replaces. There is no graph of Values
// here; the order in which that graph adds up gradients is written out:
//
//   documents last to first, in each the layers last to first; a weight's gradient folds over
//   positions last to first; a value used twice gets its shares in the reverse order of its first
//   uses.
//
// Positions are lanes (kernels.hpp), so all positions of a layer are worked on at once. That
// changes no sum: positions meet only in attention and in the weights' gradients, which fold as
// said above.
#pragma once

#include "adam.hpp"
#include "attention.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// Orders in which a linear's outputs hand gradients to its input.
struct Orders {
    Buffer<std::int32_t> descending;  // outputs last to first, for up to max(vocab_size, 4 n_embd)
    Buffer<std::int32_t> qkv;       // heads last to first; in each v, then k, then q, last to first
    Buffer<std::int32_t> qkv_at_0;  // the first position: in each v, then k and q in turns
    explicit Orders(const Shape& s);
    // The `count` outputs count - 1 ... 0.
    const std::int32_t* down_from(Index count) const {
        return descending.data() + descending.size() - count;
    }
};

inline Orders::Orders(const Shape& s)
    : descending(s.vocab_size > s.hidden ? s.vocab_size : s.hidden),
      qkv(3 * s.n_embd),
      qkv_at_0(3 * s.n_embd) {
    if (descending.size() > INT32_MAX || 3 * s.n_embd > INT32_MAX)
        throw std::overflow_error("too many outputs");
    for (Index i = 0; i < descending.size(); i++)
        descending[i] = static_cast<std::int32_t>(descending.size() - 1 - i);
    const Index d = s.n_embd, size = s.head_dim;
    Index next = 0;
    for (Index h = s.n_head - 1; h >= 0; h--) {
        const Index first = h * size;
        for (Index j = 0; j < size; j++) {
            const Index down = first + size - 1 - j;
            // The weighted values were used last, hence hand down first. At the first position a
            // query meets its only key feature by feature; later the earlier keys saw all its
            // features first.
            qkv[next + j] = qkv_at_0[next + j] = static_cast<std::int32_t>(2 * d + down);
            qkv[next + size + j] = static_cast<std::int32_t>(d + down);
            qkv[next + 2 * size + j] = static_cast<std::int32_t>(down);
            qkv_at_0[next + size + 2 * j] = static_cast<std::int32_t>(d + down);
            qkv_at_0[next + size + 2 * j + 1] = static_cast<std::int32_t>(down);
        }
        next += 3 * size;
    }
}

// Scratch of backward, for documents of `stride` positions. [rows][stride] but for by_position.
struct BackwardScratch {
    Buffer<double> memory;
    double *dlogits, *dx, *dmiddle, *dhidden, *dnormed, *dmixed, *dqkv, *dembedding, *target_rows;
    double* by_position;  // [position][whole_vectors(rows)]: an activation, transposed
    void lay_out(const Shape& s, Index stride) {
        const Index d = s.n_embd, wide = whole_vectors(s.hidden) + lanes;
        memory.grow(times(stride, plus(plus(s.vocab_size, 14 * d), wide)));
        double* next = memory.data();
        const auto take = [&](Index rows) {
            double* taken = next;
            next += rows * stride;
            return taken;
        };
        dlogits = take(s.vocab_size), dx = take(d), dmiddle = take(d), dhidden = take(s.hidden),
        dnormed = take(d);
        dmixed = take(d), dqkv = take(3 * d), dembedding = take(d), target_rows = take(d),
        by_position = take(wide);
    }
};

// One document and its share of the loss.
struct Document {
    const std::int32_t* tokens;
    Index positions;  // n = min(block_size, tokens - 1)
};

class Model {
public:
    Model(const Shape& shape, bool vector_libm)
        : shape_(shape),
          libm_{vector_libm},
          tape_(shape_),
          orders_(shape_),
          one_by_n_embd_(system_libm.pow(static_cast<double>(shape.n_embd), -1.0)),
          attention_(shape_, system_libm.pow(
                                 system_libm.pow(static_cast<double>(shape.head_dim), 0.5), -1.0)) {
    }

    Tape& tape() { return tape_; }

    // reference.gpt and softmax at all positions of a document; leaves everything on the tape.
    void forward(const double* parameters, const Document& document, Stop& stop) {
        const Index d = shape_.n_embd;
        tape_.lay_out(document.positions);
        const Index stride = tape_.stride;
        embed(parameters, document);
        rmsnorm(tape_.embedding, tape_.layer(0).x, tape_.mean_square0, tape_.scale0, d,
                one_by_n_embd_, stride, libm_);
        for (Index i = 0; i < shape_.n_layer; i++)
            layer_forward(parameters + layer_offset(i), i, stop);
        linear(parameters + shape_.lm_head, shape_.vocab_size, d, tape_.x_out, tape_.exps, stride,
               stop);
        softmax(stop);
    }

    // p(token) at a position.
    double probability(Index position, Index token) {
        return tape_.exps[token * tape_.stride + position] * tape_.inverse[position];
    }

    // reference.document_loss, after forward. Infinity where Python's log would raise: of 0.
    double document_loss(const Document& document) {
        double sum = 0;
        for (Index t = 0; t < document.positions; t++)
            sum = sum + system_libm.log(probability(t, document.tokens[t + 1])) * -1.0;
        return 1.0 / static_cast<double>(document.positions) * sum;
    }

    // Adds the gradients of dloss * document_loss to g. fresh: all of g but wte and wpe starts at
    // zero.
    void backward(const double* parameters, const Document& document, double dloss, bool fresh,
                  double* g, Stop& stop) {
        const Index d = shape_.n_embd, stride = tape_.stride;
        scratch_.lay_out(shape_, stride);
        loss_backward(parameters, document, dloss, fresh, g, stop);
        for (Index i = shape_.n_layer - 1; i >= 0; i--)
            layer_backward(parameters + layer_offset(i), i, fresh, g + layer_offset(i), stop);
        std::memset(scratch_.dembedding, 0, sizeof(double) * d * stride);
        rmsnorm_backward(tape_.embedding, scratch_.dx, scratch_.dembedding, tape_.mean_square0,
                         tape_.scale0, d, one_by_n_embd_, stride, libm_);
        const Index row = whole_vectors(d);
        transpose(scratch_.dembedding, stride, d, scratch_.by_position, row, stride);
        for (Index t = document.positions - 1; t >= 0; t--) {
            const double* from = scratch_.by_position + t * row;
            double* token = g + shape_.wte + document.tokens[t] * d;
            double* position = g + shape_.wpe + t * d;
            for (Index i = 0; i < d; i++)
                token[i] = token[i] + from[i], position[i] = position[i] + from[i];
        }
    }

private:
    Index layer_offset(Index i) const { return shape_.layers + i * shape_.layer_size; }

    // embedding[i][t] = wte[token][i] + wpe[t][i]; zero past the document.
    void embed(const double* parameters, const Document& document) {
        const Index d = shape_.n_embd, row = whole_vectors(d);
        scratch_.lay_out(shape_, tape_.stride);
        for (Index t = 0; t < tape_.stride; t++) {
            double* to = scratch_.by_position + t * row;
            if (t >= document.positions) {
                std::memset(to, 0, sizeof(double) * d);
                continue;
            }
            const double* token = parameters + shape_.wte + document.tokens[t] * d;
            const double* position = parameters + shape_.wpe + t * d;
            for (Index i = 0; i < d; i++) to[i] = token[i] + position[i];
        }
        transpose(scratch_.by_position, row, tape_.stride, tape_.embedding, tape_.stride, d);
    }

    void layer_forward(const double* w, Index i, Stop& stop) {
        LayerTape& l = tape_.layer(i);
        const Index d = shape_.n_embd, stride = tape_.stride;
        rmsnorm(l.x, l.normed1, l.mean_square1, l.scale1, d, one_by_n_embd_, stride, libm_);
        linear(w + shape_.wq, 3 * d, d, l.normed1, l.qkv, stride,
               stop);  // wq, wk, wv lie one after the other
        attention_.forward(l, tape_.positions, stride, libm_, stop);
        linear(w + shape_.wo, d, d, l.mixed, l.x_middle, stride, stop);
        for (Index k = 0; k < d * stride; k += lanes)
            store(l.x_middle + k, load(l.x_middle + k) + load(l.x + k));
        rmsnorm(l.x_middle, l.normed2, l.mean_square2, l.scale2, d, one_by_n_embd_, stride, libm_);
        linear(w + shape_.fc1, shape_.hidden, d, l.normed2, l.hidden, stride, stop);
        for (Index k = 0; k < shape_.hidden * stride;
             k += lanes) {  // relu; NaN becomes 0, as by max(0, x)
            const Vec z = load(l.hidden + k);
            store(l.hidden + k, select(z > 0.0, z, Vec{}));
        }
        double* x = tape_.after(i);
        linear(w + shape_.fc2, d, shape_.hidden, l.hidden, x, stride, stop);
        for (Index k = 0; k < d * stride; k += lanes)
            store(x + k, load(x + k) + load(l.x_middle + k));
    }

    // exps: logits in, exp(logit - highest) out.
    void softmax(Stop& stop) {
        const Index stride = tape_.stride;
        for (Index t = 0; t < stride; t += lanes) {
            double* column = tape_.exps + t;
            Vec highest = load(column);
            for (Index o = 1; o < shape_.vocab_size; o++)
                highest = larger(highest, load(column + o * stride));
            Vec total{};
            for (Index o = 0; o < shape_.vocab_size; o++) {
                const Vec e = libm_.exp(load(column + o * stride) - highest);
                store(column + o * stride, e);
                total = total + e;
            }
            store(tape_.total + t, total);
            store(tape_.inverse + t, libm_.pow(total, -1));
            stop.work(16 * lanes * shape_.vocab_size);
        }
    }

    // From the loss to x_out: dx, and the gradient of lm_head. Only the target's probability is in
    // the graph, so every other exponential hears of the loss through the total alone.
    void loss_backward(const double* parameters, const Document& document, double dloss, bool fresh,
                       double* g, Stop& stop) {
        const Index d = shape_.n_embd, vocab = shape_.vocab_size, stride = tape_.stride;
        const double dlog = -1.0 * (1.0 / static_cast<double>(document.positions) * dloss);
        double* dlogits = scratch_.dlogits;
        double* row = scratch_.by_position;  // for now: dtotal, then the targets' dlogit
        for (Index t = 0; t < stride; t++) {
            if (t >= document.positions) {
                row[t] = 0;
                continue;
            }
            const Index target = document.tokens[t + 1];
            const double dp = 1.0 / probability(t, target) * dlog;
            row[t] = tape_.exps[target * stride + t] * dp;
        }
        for (Index t = 0; t < stride; t += lanes) {
            const Vec dtotal = -libm_.pow(load(tape_.total + t), -2) * load(row + t);
            store(row + t, dtotal);
            for (Index o = 0; o < vocab; o++)
                store(dlogits + o * stride + t, load(tape_.exps + o * stride + t) * dtotal);
        }
        for (Index t = 0; t < document.positions; t++) {
            const Index target = document.tokens[t + 1];
            const double dp = 1.0 / probability(t, target) * dlog;
            row[t] = tape_.exps[target * stride + t] * (tape_.inverse[t] * dp + row[t]);
            dlogits[target * stride + t] = 0;  // is added last, below
        }
        const double* lm_head = parameters + shape_.lm_head;
        linear_input_gradient(lm_head, d, dlogits, orders_.down_from(vocab), vocab, scratch_.dx,
                              stride, stop);
        for (Index t = 0; t < document.positions; t++) {
            const Index target = document.tokens[t + 1];
            for (Index i = 0; i < d; i++)
                scratch_.dx[i * stride + t] =
                    scratch_.dx[i * stride + t] + lm_head[target * d + i] * row[t];
            dlogits[target * stride + t] = row[t];
        }
        weight_gradient(tape_.x_out, dlogits, fresh, g + shape_.lm_head, vocab, d, stop);
    }

    // dx: gradient by the layer's result in, by its input out.
    void layer_backward(const double* w, Index i, bool fresh, double* g, Stop& stop) {
        LayerTape& l = tape_.layer(i);
        BackwardScratch& s = scratch_;
        const Index d = shape_.n_embd, stride = tape_.stride, numbers = d * stride;
        // Multi-layer perceptron.
        weight_gradient(l.hidden, s.dx, fresh, g + shape_.fc2, d, shape_.hidden, stop);
        linear_input_gradient(w + shape_.fc2, shape_.hidden, s.dx, orders_.down_from(d), d,
                              s.dhidden, stride, stop);
        for (Index k = 0; k < shape_.hidden * stride; k += lanes)
            store(s.dhidden + k,
                  select(load(l.hidden + k) > 0.0, broadcast(1.0), Vec{}) * load(s.dhidden + k));
        weight_gradient(l.normed2, s.dhidden, fresh, g + shape_.fc1, shape_.hidden, d, stop);
        linear_input_gradient(w + shape_.fc1, d, s.dhidden, orders_.down_from(shape_.hidden),
                              shape_.hidden, s.dnormed, stride, stop);
        std::memcpy(s.dmiddle, s.dx, sizeof(double) * numbers);
        rmsnorm_backward(l.x_middle, s.dnormed, s.dmiddle, l.mean_square2, l.scale2, d,
                         one_by_n_embd_, stride, libm_);
        // Attention.
        weight_gradient(l.mixed, s.dmiddle, fresh, g + shape_.wo, d, d, stop);
        linear_input_gradient(w + shape_.wo, d, s.dmiddle, orders_.down_from(d), d, s.dmixed,
                              stride, stop);
        attention_.backward(l, s.dmixed, s.dqkv, tape_.positions, stride, attention_scratch_, libm_,
                            stop);
        weight_gradient(l.normed1, s.dqkv, fresh, g + shape_.wq, 3 * d, d, stop);
        linear_input_gradient(w + shape_.wq, d, s.dqkv, orders_.qkv.data(), 3 * d, s.dnormed,
                              stride, stop);
        linear_input_gradient_at_0(w + shape_.wq, d, s.dqkv, orders_.qkv_at_0.data(), 3 * d,
                                   s.dnormed, stride, stop);
        std::memcpy(s.dx, s.dmiddle, sizeof(double) * numbers);
        rmsnorm_backward(l.x, s.dnormed, s.dx, l.mean_square1, l.scale1, d, one_by_n_embd_, stride,
                         libm_);
    }

    // x: [inputs][stride], dy: [outputs][stride].
    void weight_gradient(const double* x, const double* dy, bool fresh, double* g, Index outputs,
                         Index inputs, Stop& stop) {
        transpose(x, tape_.stride, inputs, scratch_.by_position, whole_vectors(inputs),
                  tape_.stride);
        linear_weight_gradient(scratch_.by_position, dy, tape_.stride, tape_.positions, fresh, g,
                               outputs, inputs, stop);
    }

    const Shape shape_;
    const Libm libm_;
    Tape tape_;
    const Orders orders_;
    const double one_by_n_embd_;
    const Attention attention_;
    BackwardScratch scratch_;
    AttentionScratch attention_scratch_;
};

}  // namespace microgpt::exact::MICROGPT_ISA
