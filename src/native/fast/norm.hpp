// Rows of activations scaled to a mean square of one, forward and backward, and the first of them,
// the embeddings. Stands for reference.rmsnorm.
#pragma once

#include "layout.hpp"
#include "vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

constexpr float kEps = 1e-5f;

// scale[r] = (sums[r] / n_embd + kEps) ** -0.5, kLanes rows at a time. An infinite sum makes a NaN
// rather than a scale of zero, so that divergence is seen.
inline void rmsnorm_scales(const Model& model, const float* sums, float* scale, int first,
                           int last) {
    const float share = 1.0f / float(model.n_embd);
    int r = first;
    for (; r + kLanes <= last; r += kLanes) {
        const Vector mean = load<kLanes>(sums + r) * share + kEps;
        store<kLanes>(scale + r, 1.0f / square_root(mean) + mean * 0.0f);
    }
    for (; r < last; r++) {
        const float mean = sums[r] * share + kEps;
        scale[r] = 1.0f / __builtin_sqrtf(mean) + mean * 0.0f;
    }
}

// sums[r] = sum of squares of row r; scale[r] as above; y = x * scale.
template <int EMBD>
void rmsnorm(const Model& model, const float* x, float* y, float* scale, float* sums, int first,
             int last) {
    const int n = EMBD ? EMBD : model.embd, stride = model.embd_stride;
    for (int r = first; r < last; r++) {
        const float* row = x + size_t(r) * stride;
        Vector total = {};
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes) {
            const Vector v = load<kLanes>(row + j);
            total += v * v;
        }
        sums[r] = sum<kLanes>(total);
    }
    rmsnorm_scales(model, sums, scale, first, last);
    for (int r = first; r < last; r++) {
        const size_t at = size_t(r) * stride;
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes)
            store<kLanes>(y + at + j, load<kLanes>(x + at + j) * scale[r]);
    }
}

// With y = x * scale the normalised rows: dx = base + scale * (dy - y * mean(dy * y)); base may be
// null.
template <int EMBD>
void rmsnorm_backward(const Model& model, const float* dy, const float* y, const float* scale,
                      const float* base, float* dx, int first, int last) {
    const int n = EMBD ? EMBD : model.embd, stride = model.embd_stride;
    const float share = 1.0f / float(model.n_embd);
    for (int r = first; r < last; r++) {
        const size_t at = size_t(r) * stride;
        Vector total = {};
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes)
            total += load<kLanes>(dy + at + j) * load<kLanes>(y + at + j);
        const Vector mean = broadcast<kLanes>(sum<kLanes>(total) * share),
                     s = broadcast<kLanes>(scale[r]);
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes) {
            const Vector d = s * (load<kLanes>(dy + at + j) - load<kLanes>(y + at + j) * mean);
            store<kLanes>(dx + at + j, base ? load<kLanes>(base + at + j) + d : d);
        }
    }
}

// embedded = rmsnorm(wte[token] + wpe[position])
template <int EMBD>
void embed(const Model& model, const Rows& rows, const Group& g) {
    const int n = EMBD ? EMBD : model.embd;
    for (int r = g.first_row; r < g.last_row; r++) {
        const float* token = from(model.embeddings.weights, rows.token[r], model.embd);
        const float* position =
            from(model.embeddings.weights, model.vocab_size + rows.position[r], model.embd);
        float* x = from(rows.embedded, r, model.embd_stride);
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes)
            store<kLanes>(x + j, load<kLanes>(token + j) + load<kLanes>(position + j));
    }
    rmsnorm<EMBD>(model, rows.embedded, rows.embedded, rows.scale0, rows.sums, g.first_row,
                  g.last_row);
}

}  // namespace microgpt::fast::MICROGPT_ISA
