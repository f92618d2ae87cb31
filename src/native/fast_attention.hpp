// Causal attention of one document, forward and backward, with queries in the lanes of a vector.
// For a block of kQueries queries (t0 ... t0 + 7) and one head: scores[s][lane] for every key s up to the last
// query, softmax down the keys, and the mixed values as products of that small matrix. No score leaves L1.
#pragma once

#include "fast_layout.hpp"
#include "fast_vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

typedef Floats<kQueries> Lane;  // one number for each query of a block

// One head of a document: rows of queries, keys and values, a row `stride` floats after the one before.
struct Span {
    const float* at;
    size_t stride;
    MICROGPT_INLINE const float* row(int t) const { return at + size_t(t) * stride; }
};

// out[j][lane] = factor * rows[lane][j], j < head; the rows are t0 ... t0 + 7, the last one repeated past the end.
template <int HEAD>
MICROGPT_INLINE void transpose_rows(const Span& rows, int t0, int end, int head, float factor, float* out) {
    const int n = HEAD ? HEAD : head;
    for (int j = 0; j < n; j += 4) {
#pragma GCC unroll 2
        for (int half = 0; half < kQueries; half += 4) {
            Floats<4> block[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const int t = t0 + half + i;
                block[i] = load<4>(rows.row(t < end ? t : end - 1) + j) * factor;
            }
            transpose(block);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) store<4>(out + (j + i) * kQueries + half, block[i]);
        }
    }
}

// out[s][lane] = sum over j of transposed[j][lane] * rows[s][j], for M keys from s on.
template <int M, int HEAD>
MICROGPT_INLINE void scores_tile(const float* transposed, const Span& rows, int s, int head, float* out) {
    Lane sums[M] = {};
    const int n = HEAD ? HEAD : head;
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        const Lane q = load<kQueries>(transposed + j * kQueries);
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) sums[i] += q * rows.row(s + i)[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) store<kQueries>(out + size_t(s + i) * kQueries, sums[i]);
}

template <int HEAD>
MICROGPT_INLINE void scores(const float* transposed, const Span& rows, int keys, int head, float* out) {
    int s = 0;
    for (; s + 8 <= keys; s += 8) scores_tile<8, HEAD>(transposed, rows, s, head, out);
    if (s + 4 <= keys) scores_tile<4, HEAD>(transposed, rows, s, head, out), s += 4;
    if (s + 2 <= keys) scores_tile<2, HEAD>(transposed, rows, s, head, out), s += 2;
    if (s < keys) scores_tile<1, HEAD>(transposed, rows, s, head, out);
}

// y[r][...] = (add ? y[r][...] : 0) + sum over k < depth of weights[r * row_step + k * key_step] * x[k][...],
// for M rows and D vectors of L floats.
template <int M, int D, int L>
MICROGPT_INLINE void mix_tile(const float* weights, int row_step, int key_step, int depth, const Span& x, float* y,
                              size_t y_stride, bool add) {
    Floats<L> sums[M][D];
#pragma GCC unroll 8
    for (int r = 0; r < M; r++) {
#pragma GCC unroll 2
        for (int d = 0; d < D; d++) sums[r][d] = add ? load<L>(y + r * y_stride + d * L) : Floats<L>{};
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
MICROGPT_INLINE void mix_rows(int rows, const float* weights, int row_step, int key_step, int depth, const Span& x,
                              float* y, size_t y_stride, bool add) {
    if (rows == M) {
        mix_tile<M, D, L>(weights, row_step, key_step, depth, x, y, y_stride, add);
    } else if constexpr (M > 1) {
        mix_rows<M - 1, D, L>(rows, weights, row_step, key_step, depth, x, y, y_stride, add);
    }
}

// Lanes that fit a head's width, and how many vectors of them a tile takes.
template <int HEAD>
constexpr int kHeadLanes = HEAD % 16 == 0 && HEAD > 0 && kLanes == 16 ? 16 : HEAD % 8 == 0 && HEAD > 0 && kLanes >= 8 ? 8 : 4;

// All columns of a head: y[r] for `rows` rows; `causal`: row r needs only the keys up to first + r.
template <int HEAD, bool CAUSAL>
MICROGPT_INLINE void mix(const float* weights, int row_step, int key_step, int rows, int depth, int first, const Span& x,
                         int head, float* y, size_t y_stride, bool add) {
    constexpr int L = kHeadLanes<HEAD>, D = HEAD % (2 * L) == 0 && HEAD > 0 ? 2 : 1, M = D == 2 ? 4 : 8;
    const int n = HEAD ? HEAD : head;
    for (int r = 0; r < rows; r += M) {
        const int m = rows - r < M ? rows - r : M, last = first + r + m;
        const int keys = CAUSAL && last < depth ? last : depth;
        for (int j = 0; j < n; j += D * L) {
            mix_rows<M, D, L>(m, weights + size_t(r) * row_step, row_step, key_step, keys, Span{x.at + j, x.stride},
                              y + r * y_stride + j, y_stride, add);
        }
    }
}

// Scores to weights, in place; keys s > t0 are hidden from the lanes of earlier queries.
MICROGPT_INLINE void softmax_down(float* scores, int keys, int t0) {
    const Lane lane = {0, 1, 2, 3, 4, 5, 6, 7};
    Lane highest = load<kQueries>(scores), total = {};
    for (int s = 1; s <= t0; s++) highest = larger<kQueries>(highest, load<kQueries>(scores + size_t(s) * kQueries));
    for (int s = t0 + 1; s < keys; s++) {
        const Lane x = load<kQueries>(scores + size_t(s) * kQueries);
        highest = lane >= float(s - t0) ? larger<kQueries>(highest, x) : highest;
    }
    for (int s = 0; s < keys; s++) {
        Lane e = exponential<kQueries>(load<kQueries>(scores + size_t(s) * kQueries) - highest);
        if (s > t0) e = lane >= float(s - t0) ? e : Lane{};
        total += e;
        store<kQueries>(scores + size_t(s) * kQueries, e);
    }
    const Lane scale = 1.0f / total;
    for (int s = 0; s < keys; s++) {
        float* at = scores + size_t(s) * kQueries;
        store<kQueries>(at, load<kQueries>(at) * scale);
    }
}

// Where a document's keys and values stand for all its positions: in place, or gathered.
struct KeysValues {
    const float* at;  // the keys of position 0; the values stand `attn` floats behind
    size_t stride;
};

inline KeysValues keys_values(const Model& model, const float* qkv, const Document& document, float* gathered) {
    const size_t stride = size_t(model.qkv_stride), width = 2 * size_t(model.attn);
    const float* keys = qkv + model.attn;
    if (document.contiguous) return {keys + size_t(document.path[0]) * stride, stride};
    for (int t = 0; t < document.positions; t++) {
        __builtin_memcpy(gathered + t * width, keys + size_t(document.path[t]) * stride, width * sizeof(float));
    }
    return {gathered, width};
}

// One document, one layer: qkv of all its positions -> attention weights, and `mixed` of its own rows.
template <int HEAD>
void attend(const Model& model, const Document& document, const LayerRows& rows, Scratch& scratch, Ticker& ticker) {
    const int head = HEAD ? HEAD : model.head, end = document.positions, shared = document.shared;
    const KeysValues kv = keys_values(model, rows.qkv, document, scratch.gathered);
    const size_t stride = size_t(model.qkv_stride), mixed_stride = size_t(model.attn_stride);
    const float* queries = rows.qkv + size_t(document.first_row) * stride;  // of position `shared`
    float* mixed = rows.mixed + size_t(document.first_row) * mixed_stride;
    float* weights = rows.attention + document.attention;
    const float factor = 1.0f / __builtin_sqrtf(float(model.head_dim));
    for (int t0 = shared; t0 < end; t0 += kQueries) {
        const int keys = t0 + kQueries < end ? t0 + kQueries : end, own = keys - t0;
        for (int h = 0; h < model.n_head; h++, weights += size_t(keys) * kQueries) {
            const size_t column = size_t(h) * head;
            const Span k = {kv.at + column, kv.stride}, v = {kv.at + model.attn + column, kv.stride};
            transpose_rows<HEAD>({queries + column, stride}, t0 - shared, end - shared, head, factor, scratch.queries);
            scores<HEAD>(scratch.queries, k, keys, head, weights);
            softmax_down(weights, keys, t0);
            mix<HEAD, true>(weights, 1, kQueries, own, keys, t0, v, head, mixed + (t0 - shared) * mixed_stride + column,
                            mixed_stride, false);
            if (ticker.spend(2L * keys * kQueries * (head + 8))) return;
        }
    }
}

// d_scores[s][lane] = weight * (d_weight - sum over s of weight * d_weight) * factor: softmax's derivative, in place.
MICROGPT_INLINE void softmax_derivative(const float* weights, float* d, int keys, float factor) {
    Lane total = {};
    for (int s = 0; s < keys; s++) {
        total += load<kQueries>(weights + size_t(s) * kQueries) * load<kQueries>(d + size_t(s) * kQueries);
    }
    for (int s = 0; s < keys; s++) {
        float* at = d + size_t(s) * kQueries;
        store<kQueries>(at, load<kQueries>(weights + size_t(s) * kQueries) * (load<kQueries>(at) - total) * factor);
    }
}

// Gradients by queries, keys and values from d_mixed. Keys and values of shared rows collect from every document.
template <int HEAD>
void attend_backward(const Model& model, const Document& document, const LayerRows& rows, const float* d_mixed,
                     Scratch& scratch, Ticker& ticker) {
    const int head = HEAD ? HEAD : model.head, end = document.positions, shared = document.shared, attn = model.attn;
    const KeysValues kv = keys_values(model, rows.qkv, document, scratch.gathered);
    const size_t stride = size_t(model.qkv_stride), mixed_stride = size_t(model.attn_stride), width = 2 * size_t(attn);
    const size_t own_rows = size_t(document.first_row) * stride;
    const float* queries = rows.qkv + own_rows;
    const float* weights = rows.attention + document.attention;
    const float factor = 1.0f / __builtin_sqrtf(float(model.head_dim));
    float *d_queries = rows.d_qkv + own_rows, *d_kv = scratch.d_gathered;
    size_t d_stride = width;
    if (document.contiguous) {
        d_kv = rows.d_qkv + size_t(document.path[0]) * stride + attn, d_stride = stride;
        for (int t = shared; t < end; t++) __builtin_memset(d_kv + t * stride, 0, width * sizeof(float));
    } else {
        __builtin_memset(d_kv, 0, size_t(end) * width * sizeof(float));
    }
    for (int t0 = shared; t0 < end; t0 += kQueries) {
        const int keys = t0 + kQueries < end ? t0 + kQueries : end, own = keys - t0, at = t0 - shared;
        for (int h = 0; h < model.n_head; h++, weights += size_t(keys) * kQueries) {
            const size_t column = size_t(h) * head;
            const Span k = {kv.at + column, kv.stride}, v = {kv.at + attn + column, kv.stride};
            const Span q = {queries + at * stride + column, stride}, d = {d_mixed + at * mixed_stride + column, mixed_stride};
            float* d_keys = d_kv + column;
            transpose_rows<HEAD>(d, 0, own, head, 1.0f, scratch.queries);
            scores<HEAD>(scratch.queries, v, keys, head, scratch.scores);
            softmax_derivative(weights, scratch.scores, keys, factor);
            mix<HEAD, true>(scratch.scores, 1, kQueries, own, keys, t0, k, head, d_queries + at * stride + column, stride, false);
            mix<HEAD, false>(scratch.scores, kQueries, 1, keys, own, 0, q, head, d_keys, d_stride, true);
            mix<HEAD, false>(weights, kQueries, 1, keys, own, 0, d, head, d_keys + attn, d_stride, true);
            if (ticker.spend(4L * keys * kQueries * (head + 8))) return;
        }
    }
    if (document.contiguous) return;
    for (int t = 0; t < end; t++) {
        float* to = rows.d_qkv + size_t(document.path[t]) * stride + attn;
        const float* from = d_kv + t * width;
        for (size_t j = 0; j < width; j += kLanes) {
            store<kLanes>(to + j, t < shared ? load<kLanes>(to + j) + load<kLanes>(from + j) : load<kLanes>(from + j));
        }
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
