// The first layer's q, k and v without a product for each row. Its input is the embedding of a
// token plus that of a position, scaled: so the rows of the embeddings are multiplied by the
// weights, once a step, a row adds two of these products, and gives its gradient back to the two.
// With e = wte[token] + wpe[position], x = s0 e, y = s1 x (rmsnorm of the embeddings, then the
// layer's own) and d the gradient by W y:
//   W y = s0 s1 (W wte[token] + W wpe[position])
//   gradient by e = s0 (base - x (mean(base x) + s1^2 (1 + kEps) (d . W y) / n_embd)) + s0 s1 W^T d
// where base is the gradient by x but for the way through y. Only W^T d is a product; sums over
// rows go before it.
#pragma once

#include "norm.hpp"
#include "products.hpp"

namespace microgpt::fast::MICROGPT_ISA {

template <int EMBD>
void first_qkv(const Model& model, const Rows& rows, const Group& g) {
    const int width = 3 * (EMBD ? EMBD : model.attn), stride = model.qkv_stride;
    const LayerRows& a = rows.layers[0];
    for (int r = g.first_row; r < g.last_row; r++) rows.sums[r] *= rows.scale0[r] * rows.scale0[r];
    rmsnorm_scales(model, rows.sums, a.scale1, g.first_row, g.last_row);
    for (int r = g.first_row; r < g.last_row; r++) {
        const float* token = from(rows.table_qkv, rows.token[r], stride);
        const float* position = from(rows.table_qkv, model.vocab_size + rows.position[r], stride);
        float *qkv = from(a.qkv, r, stride), scale = rows.scale0[r] * a.scale1[r];
#pragma GCC unroll 4
        for (int j = 0; j < width; j += kLanes) {
            store<kLanes>(qkv + j, (load<kLanes>(token + j) + load<kLanes>(position + j)) * scale);
        }
    }
}

// The gradient by e without its last term, in d_stream[0], and s0 s1 d in d_qkv.
template <int EMBD>
void first_qkv_backward(const Model& model, const Rows& rows, const Group& g) {
    const int embd = EMBD ? EMBD : model.embd, width = 3 * (EMBD ? EMBD : model.attn);
    const float share = 1.0f / float(model.n_embd);
    for (int r = g.first_row; r < g.last_row; r++) {
        const float *qkv = from(rows.layers[0].qkv, r, model.qkv_stride),
                    *x = from(rows.embedded, r, model.embd_stride);
        const float* base = from(rows.d_middle, r, model.embd_stride);
        float *d = from(rows.d_qkv, r, model.qkv_stride),
              *d_input = from(rows.d_stream[0], r, model.embd_stride);
        Vector by_qkv = {}, by_base = {};
#pragma GCC unroll 4
        for (int j = 0; j < width; j += kLanes)
            by_qkv += load<kLanes>(d + j) * load<kLanes>(qkv + j);
#pragma GCC unroll 4
        for (int j = 0; j < embd; j += kLanes)
            by_base += load<kLanes>(base + j) * load<kLanes>(x + j);
        const float scale0 = rows.scale0[r], scale1 = rows.layers[0].scale1[r];
        const Vector part = by_base + by_qkv * (scale1 * scale1 * (1.0f + kEps));
        const float mean = sum<kLanes>(part) * share;
#pragma GCC unroll 4
        for (int j = 0; j < embd; j += kLanes) {
            store<kLanes>(d_input + j,
                          (load<kLanes>(base + j) - load<kLanes>(x + j) * mean) * scale0);
        }
#pragma GCC unroll 4
        for (int j = 0; j < width; j += kLanes)
            store<kLanes>(d + j, load<kLanes>(d + j) * (scale0 * scale1));
    }
}

template <int EMBD>
void table_products(const Model& model, const Rows& rows, int first, int last, Ticker& ticker) {
    const int embd = EMBD ? EMBD : model.embd, attn = EMBD ? EMBD : model.attn;
    product<EMBD>(from(model.embeddings.weights, first, embd), embd, last - first,
                  model.layers[0].qkv.forward, embd, EMBD ? EMBD : model.n_embd, 3 * attn,
                  Store{from(rows.table_qkv, first, model.qkv_stride), model.qkv_stride}, ticker);
}

template <int EMBD>
bool table_products_backward(const Model& model, const Rows& rows, int first, int last,
                             Ticker& ticker) {
    const int embd = EMBD ? EMBD : model.embd, attn = EMBD ? EMBD : model.attn;
    float* gradient = from(model.embeddings.gradient, first, embd);
    product<3 * EMBD>(from(rows.d_table_qkv, first, model.qkv_stride), model.qkv_stride,
                      last - first, model.layers[0].qkv.backward, 3 * attn, 3 * attn, embd,
                      StoreSum{gradient, gradient, embd}, ticker);
    Vector check[4] = {};
    for (int j = 0; j < (last - first) * embd; j += kLanes) {
        const Vector x = load<kLanes>(gradient + j);
        check[j / kLanes % 4] += x * x;
    }
    return finite(check);
}

}  // namespace microgpt::fast::MICROGPT_ISA
