// The tape: the activations of one document, which forward leaves for backward.
#pragma once

#include "../memory.hpp"
#include "kernels.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// What one layer computes for one document. [rows][stride], a position a lane.
struct LayerTape {
    double* x;             // [n_embd]: the residual stream coming in
    double* mean_square1;  // [1]
    double* scale1;        // [1]
    double* normed1;       // [n_embd]
    double* qkv;           // [3 n_embd]: queries, keys, values
    double* exps;      // [n_head][key position][stride]: exp of the shifted attention logit, 0 for
                       // later keys
    double* totals;    // [n_head]: their sums
    double* inverses;  // [n_head]: 1 / totals
    double* mixed;     // [n_embd]
    double* x_middle;  // [n_embd]: the residual stream after attention
    double* mean_square2;  // [1]
    double* scale2;        // [1]
    double* normed2;       // [n_embd]
    double* hidden;        // [4 n_embd]
};

// Activations of one document of `positions` tokens, all layers. Laid out anew for every document.
class Tape {
public:
    explicit Tape(const Shape& shape) : shape_(shape), layers_(shape.n_layer) {}

    void lay_out(Index length) {
        positions = length;
        if (stride == whole_vectors(length)) return;
        stride = whole_vectors(length);
        const Index d = shape_.n_embd, heads = shape_.n_head;
        const Index attention = times(heads, times(stride, stride));
        const Index rows = 12 * d + 4 + 2 * heads;
        const Index layer = plus(times(rows, stride), attention);
        const Index ends = times(stride, plus(2 * d + 4, shape_.vocab_size));
        memory_.grow(plus(times(shape_.n_layer, layer), ends));
        double* next = memory_.data();
        const auto take = [&](Index count) {
            double* taken = next;
            next += count * stride;
            return taken;
        };
        embedding = take(d), mean_square0 = take(1), scale0 = take(1);
        for (Index i = 0; i < shape_.n_layer; i++) {
            LayerTape& l = layers_[i];
            l.x = take(d), l.mean_square1 = take(1), l.scale1 = take(1), l.normed1 = take(d),
            l.qkv = take(3 * d);
            l.exps = take(heads * stride), l.totals = take(heads), l.inverses = take(heads),
            l.mixed = take(d);
            l.x_middle = take(d), l.mean_square2 = take(1), l.scale2 = take(1), l.normed2 = take(d);
            l.hidden = take(4 * d);
        }
        x_out = take(d), exps = take(shape_.vocab_size), total = take(1), inverse = take(1);
    }

    LayerTape& layer(Index i) { return layers_[i]; }
    // The residual stream after layer i.
    double* after(Index i) { return i + 1 < shape_.n_layer ? layers_[i + 1].x : x_out; }

    Index positions = 0, stride = 0;
    double *embedding = nullptr, *mean_square0 = nullptr, *scale0 = nullptr;
    double* x_out = nullptr;
    double *exps = nullptr, *total = nullptr,
           *inverse = nullptr;  // the softmax over tokens, [vocab_size] and [1]

private:
    const Shape& shape_;
    Buffer<LayerTape> layers_;
    Buffer<double> memory_;
};

}  // namespace microgpt::exact::MICROGPT_ISA
