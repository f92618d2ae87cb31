// Attention of heads wider than 4, with queries in the lanes of a vector.
// For a block of kQueries queries (t0 ... t0 + 7) and one head: scores[s][lane] for every key s up
// to the last query, softmax down the keys, and the mixed values as products of that small matrix.
// kHeads heads go together, each step for all of them: one head's steps wait for each other, and
// the other heads fill that time.
#pragma once

#include "block.hpp"

namespace microgpt::fast::MICROGPT_ISA {

typedef Floats<kQueries> Lane;  // one number for each query of a block

// out[j][lane] = factor * rows[lane][j], j < head; of kQueries rows, the last of `count` repeated
// past the end.
template <int HEAD>
MICROGPT_INLINE void transpose_rows(const ConstRows& rows, int count, int head, float factor,
                                    float* out) {
    const float* row[kQueries];
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; i++) row[i] = rows.row(i < count ? i : count - 1);
    for (int j = 0; j < head; j += 4) {
        Lane r[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            r[i] = __builtin_shufflevector(load<4>(row[i] + j), load<4>(row[i + 4] + j), 0, 1, 2, 3,
                                           4, 5, 6, 7);
        }
        transpose_fours(r[0], r[1], r[2], r[3]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) store<kQueries>(out + (j + i) * kQueries, r[i] * factor);
    }
}

// out[s][lane] = sum over j of transposed[j][lane] * rows[s][j], for M keys from s on, `step`
// floats apart.
template <int M, int HEAD>
MICROGPT_INLINE void scores_tile(const float* transposed, const ConstRows& rows, int s, int head,
                                 float* out, int step) {
    Lane sums[M] = {};
    const int n = HEAD ? HEAD : head;
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        const Lane q = load<kQueries>(transposed + j * kQueries);
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) sums[i] += q * rows.row(s + i)[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) store<kQueries>(out + size_t(s + i) * step, sums[i]);
}

template <int HEAD>
MICROGPT_INLINE void scores(const float* transposed, const ConstRows& rows, int keys, int head,
                            float* out, int step) {
    int s = 0;
    for (; s + 8 <= keys; s += 8) scores_tile<8, HEAD>(transposed, rows, s, head, out, step);
    if (s + 4 <= keys) scores_tile<4, HEAD>(transposed, rows, s, head, out, step), s += 4;
    if (s + 2 <= keys) scores_tile<2, HEAD>(transposed, rows, s, head, out, step), s += 2;
    if (s < keys) scores_tile<1, HEAD>(transposed, rows, s, head, out, step);
}

// y[r][...] = (add ? y[r][...] : 0) + sum over k < depth of weights[r * row_step + k * key_step] *
// x[k][...], for M rows and D vectors of L floats.
template <int M, int D, int L>
MICROGPT_INLINE void mix_tile(const float* weights, int row_step, int key_step, int depth,
                              const ConstRows& x, float* y, size_t y_stride, bool add) {
    Floats<L> sums[M][D];
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
#pragma GCC unroll 2
        for (int d = 0; d < D; d++)
            sums[r][d] = add ? load<L>(y + r * y_stride + d * L) : Floats<L>{};
    }
    for (int k = 0; k < depth; k++) {
        Floats<L> xk[D];
#pragma GCC unroll 2
        for (int d = 0; d < D; d++) xk[d] = load<L>(x.row(k) + d * L);
#pragma GCC unroll 8
        for (int r = 0; r < M; r++) {
            const float w = weights[size_t(r) * row_step + size_t(k) * key_step];
#pragma GCC unroll 2
            for (int d = 0; d < D; d++) sums[r][d] += w * xk[d];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
#pragma GCC unroll 2
        for (int d = 0; d < D; d++) store<L>(y + r * y_stride + d * L, sums[r][d]);
    }
}

// The same for up to M rows, D vectors.
template <int M, int D, int L>
MICROGPT_INLINE void mix_rows(int rows, const float* weights, int row_step, int key_step, int depth,
                              const ConstRows& x, float* y, size_t y_stride, bool add) {
    if (rows == M) {
        mix_tile<M, D, L>(weights, row_step, key_step, depth, x, y, y_stride, add);
    } else if constexpr (M > 1) {
        mix_rows<M - 1, D, L>(rows, weights, row_step, key_step, depth, x, y, y_stride, add);
    }
}

// Lanes that fit a head's width, and how many vectors of them a tile takes.
template <int HEAD>
constexpr int kHeadLanes = HEAD % 16 == 0 && HEAD > 0 && kLanes == 16 ? 16
                           : HEAD % 8 == 0 && HEAD > 0 && kLanes >= 8 ? 8
                                                                      : 4;

// All columns of a head: y[r] for `rows` rows; `causal`: row r needs only the keys up to first + r.
template <int HEAD, bool CAUSAL>
MICROGPT_INLINE void mix(const float* weights, int row_step, int key_step, int rows, int depth,
                         int first, const ConstRows& x, int head, const MutableRows& y, bool add) {
    constexpr int L = kHeadLanes<HEAD>, D = HEAD % (2 * L) == 0 && HEAD > 0 ? 2 : 1,
                  M = D == 2 ? 4 : 8;
    const int n = HEAD ? HEAD : head;
    for (int r = 0; r < rows; r += M) {
        const int m = rows - r < M ? rows - r : M, last = first + r + m;
        const int keys = CAUSAL && last < depth ? last : depth;
        for (int j = 0; j < n; j += D * L) {
            mix_rows<M, D, L>(m, weights + size_t(r) * row_step, row_step, key_step, keys,
                              x.from(j), y.row(r) + j, y.stride, add);
        }
    }
}

// ---- Softmax ------------------------------------------------------------------------------------

// The queries of HEADS heads side by side, kWidth floats for each key, as N vectors of L lanes.
template <int HEADS>
struct Across {
    static constexpr int kWidth = HEADS * kQueries, L = kLanes < kWidth ? kLanes : kWidth,
                         N = kWidth / L;
    Floats<L> part[N];
};

// Lanes of vector p whose queries, t0 + lane, may look at key t0 + later.
template <int HEADS>
MICROGPT_INLINE auto visible(int p, int later) {
    Floats<Across<HEADS>::L> lane;
#pragma GCC unroll 16
    for (int i = 0; i < Across<HEADS>::L; i++)
        lane[i] = float((p * Across<HEADS>::L + i) % kQueries);
    return lane >= float(later);
}

// Softmax down the keys, in place: scores [keys][HEADS][lane] become attention weights.
template <int HEADS>
MICROGPT_INLINE void softmax_down(float* scores, int keys, int t0) {
    constexpr int W = Across<HEADS>::kWidth, L = Across<HEADS>::L, N = Across<HEADS>::N;
    Across<HEADS> highest, total = {};
#pragma GCC unroll 8
    for (int p = 0; p < N; p++)
        highest.part[p] = load<L>(scores + p * L);  // key 0 is visible to all
    for (int s = 1; s < keys; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < N; p++) {
            const Floats<L> candidate =
                larger<L>(load<L>(scores + size_t(s) * W + p * L), highest.part[p]);
            highest.part[p] = visible<HEADS>(p, s - t0) ? candidate : highest.part[p];
        }
    }
    for (int s = 0; s < keys; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < N; p++) {
            float* at = scores + size_t(s) * W + p * L;
            const Floats<L> e = exponential<L>(load<L>(at) - highest.part[p]);
            const Floats<L> seen = visible<HEADS>(p, s - t0) ? e : Floats<L>{};
            store<L>(at, seen);
            total.part[p] += seen;
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < N; p++) total.part[p] = 1.0f / total.part[p];
    for (int s = 0; s < keys; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < N; p++) {
            float* at = scores + size_t(s) * W + p * L;
            store<L>(at, load<L>(at) * total.part[p]);
        }
    }
}

// Softmax's derivative, in place: d_weights [keys][HEADS][lane] become
// weight * (d_weight - sum over keys of weight * d_weight) * factor.
template <int HEADS>
MICROGPT_INLINE void score_gradients(const float* weights, float* d_weights, int keys,
                                     float factor) {
    constexpr int W = Across<HEADS>::kWidth, L = Across<HEADS>::L, N = Across<HEADS>::N;
    Across<HEADS> total = {};
    for (int s = 0; s < keys; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < N; p++) {
            const size_t at = size_t(s) * W + p * L;
            total.part[p] += load<L>(weights + at) * load<L>(d_weights + at);
        }
    }
    for (int s = 0; s < keys; s++) {
#pragma GCC unroll 8
        for (int p = 0; p < N; p++) {
            const size_t at = size_t(s) * W + p * L;
            store<L>(d_weights + at,
                     load<L>(weights + at) * (load<L>(d_weights + at) - total.part[p]) * factor);
        }
    }
}

// ---- A block of queries -------------------------------------------------------------------------

// Attention weights of HEADS heads, and what they mix.
template <int HEAD, int HEADS>
MICROGPT_INLINE void attend_heads(const Block& b, float* weights, const MutableRows& mixed,
                                  const Scratch& scratch) {
    constexpr int W = Across<HEADS>::kWidth;
    const int head = HEAD ? HEAD : b.head;
    for (int h = 0; h < HEADS; h++) {
        transpose_rows<HEAD>(b.queries.from(h * head), b.rows, head, b.factor,
                             scratch.queries + h * head * kQueries);
    }
    for (int h = 0; h < HEADS; h++) {
        scores<HEAD>(scratch.queries + h * head * kQueries, b.keys.from(h * head), b.count, head,
                     weights + h * kQueries, W);
    }
    softmax_down<HEADS>(weights, b.count, b.t0);
    for (int h = 0; h < HEADS; h++) {
        mix<HEAD, true>(weights + h * kQueries, 1, W, b.rows, b.count, b.t0,
                        b.values.from(h * head), head, mixed.from(h * head), false);
    }
}

// Gradients by their queries, keys and values from those by what they mixed; values `attn` columns
// behind their keys. Keys and values add to what is there if `add`.
template <int HEAD, int HEADS>
MICROGPT_INLINE void attend_heads_backward(const Block& b, const float* weights,
                                           const ConstRows& d_mixed, const MutableRows& d_queries,
                                           const MutableRows& d_keys, int attn, bool add,
                                           const Scratch& scratch) {
    constexpr int W = Across<HEADS>::kWidth;
    const int head = HEAD ? HEAD : b.head;
    for (int h = 0; h < HEADS; h++) {
        transpose_rows<HEAD>(d_mixed.from(h * head), b.rows, head, 1.0f,
                             scratch.queries + h * head * kQueries);
    }
    for (int h = 0; h < HEADS; h++) {
        scores<HEAD>(scratch.queries + h * head * kQueries, b.values.from(h * head), b.count, head,
                     scratch.scores + h * kQueries, W);
    }
    score_gradients<HEADS>(weights, scratch.scores, b.count, b.factor);
    for (int h = 0; h < HEADS; h++) {
        const float *w = weights + h * kQueries, *d_scores = scratch.scores + h * kQueries;
        const int c = h * head;
        mix<HEAD, true>(d_scores, 1, W, b.rows, b.count, b.t0, b.keys.from(c), head,
                        d_queries.from(c), false);
        mix<HEAD, false>(d_scores, W, 1, b.count, b.rows, 0, b.queries.from(c), head,
                         d_keys.from(c), add);
        mix<HEAD, false>(w, W, 1, b.count, b.rows, 0, d_mixed.from(c), head, d_keys.from(attn + c),
                         add);
    }
}

// Attention weights of all heads, [head][key][lane] or [key][head][lane] of kHeads, and what they
// mix.
template <int HEAD>
MICROGPT_INLINE void attend_wide(const Block& b, int n_head, float* weights,
                                 const MutableRows& mixed, const Scratch& scratch) {
    const size_t size = size_t(b.count) * kQueries;
    const int head = HEAD ? HEAD : b.head;
    int h = 0;
    for (; h + kHeads <= n_head; h += kHeads) {
        attend_heads<HEAD, kHeads>(b.from(h * head), weights + h * size, mixed.from(h * head),
                                   scratch);
    }
    for (; h < n_head; h++) {
        attend_heads<HEAD, 1>(b.from(h * head), weights + h * size, mixed.from(h * head), scratch);
    }
}

template <int HEAD>
MICROGPT_INLINE void attend_wide_backward(const Block& b, int n_head, const float* weights,
                                          const ConstRows& d_mixed, const MutableRows& d_queries,
                                          const MutableRows& d_keys, int attn, bool add,
                                          const Scratch& scratch) {
    const size_t size = size_t(b.count) * kQueries;
    const int head = HEAD ? HEAD : b.head;
    int h = 0;
    for (; h + kHeads <= n_head; h += kHeads) {
        const int c = h * head;
        attend_heads_backward<HEAD, kHeads>(b.from(c), weights + h * size, d_mixed.from(c),
                                            d_queries.from(c), d_keys.from(c), attn, add, scratch);
    }
    for (; h < n_head; h++) {
        const int c = h * head;
        attend_heads_backward<HEAD, 1>(b.from(c), weights + h * size, d_mixed.from(c),
                                       d_queries.from(c), d_keys.from(c), attn, add, scratch);
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
