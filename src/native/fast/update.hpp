// Adam for the fast engine: one pass over weights, moments and gradients, square root and division
// exact. The transposed copy of a matrix is written tile by tile while the tile is in registers.
#pragma once

#include "layout.hpp"
#include "vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

MICROGPT_INLINE Vector updated(Vector p, Vector g, float* m_at, float* v_at, const Update& u) {
    const Vector m = load<kLanes>(m_at) * u.beta1 + g * (1.0f - u.beta1);
    const Vector v = load<kLanes>(v_at) * u.beta2 + g * g * (1.0f - u.beta2);
    store<kLanes>(m_at, m);
    store<kLanes>(v_at, v);
    return p * u.keep - m * u.rate / (square_root(v) + u.eps);
}

// Rows first ... last - 1, multiples of kPad. A tile of kLanes outputs x kLanes inputs is
// contiguous in both layouts.
void update_matrix(const Matrix& w, int first, int last, const Update& u, Ticker& ticker) {
    for (int i = 0; i < w.in; i += kLanes) {
        for (int o = first; o < last; o += kLanes) {
            const size_t at = size_t(i) * w.out + size_t(o) * kLanes;
            Vector tile[kLanes];
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++) {
                const size_t k = at + size_t(j) * kLanes;
                tile[j] = updated(load<kLanes>(w.backward + k), load<kLanes>(w.gradient + k),
                                  w.m + k, w.v + k, u);
                store<kLanes>(w.backward + k, tile[j]);
            }
            transpose(tile);
            float* forward = w.forward + size_t(o) * w.in + size_t(i) * kLanes;
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++) store<kLanes>(forward + j * kLanes, tile[j]);
        }
        ticker.spend(20L * kLanes *
                     (last - first));  // an update costs about as much as 20 multiply-adds
    }
}

void update_table(const Table& t, int first, int last, const Update& u, Ticker& ticker) {
    for (int row = first; row < last; row++) {
        for (size_t k = size_t(row) * t.columns, end = k + t.columns; k < end; k += kLanes) {
            store<kLanes>(t.weights + k,
                          updated(load<kLanes>(t.weights + k), load<kLanes>(t.gradient + k),
                                  t.m + k, t.v + k, u));
        }
        ticker.spend(20L * t.columns);
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
