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

// sums[i][lane] = sum over j of transposed[j][lane] * rows[s + i][j], for M keys.
template <int M, int HEAD>
MICROGPT_INLINE void scores_tile(const float* transposed, const Span& rows, int s, int head, Lane (&sums)[M]) {
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) sums[i] = Lane{};
    const int n = HEAD ? HEAD : head;
#pragma GCC unroll 4
    for (int j = 0; j < n; j++) {
        const Lane q = load<kQueries>(transposed + j * kQueries);
#pragma GCC unroll 8
        for (int i = 0; i < M; i++) sums[i] += q * rows.row(s + i)[j];
    }
}

template <int M, int HEAD>
MICROGPT_INLINE void put_scores(const float* transposed, const Span& rows, int s, int head, float* out) {
    Lane sums[M];
    scores_tile<M, HEAD>(transposed, rows, s, head, sums);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) store<kQueries>(out + size_t(s + i) * kQueries, sums[i]);
}

// Scores of any number of keys, to memory.
template <int HEAD>
MICROGPT_INLINE void scores(const float* transposed, const Span& rows, int keys, int head, float* out) {
    int s = 0;
    for (; s + 8 <= keys; s += 8) put_scores<8, HEAD>(transposed, rows, s, head, out);
    if (s + 4 <= keys) put_scores<4, HEAD>(transposed, rows, s, head, out), s += 4;
    if (s + 2 <= keys) put_scores<2, HEAD>(transposed, rows, s, head, out), s += 2;
    if (s < keys) put_scores<1, HEAD>(transposed, rows, s, head, out);
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
constexpr int kHeadLanes = HEAD % 16 == 0 && HEAD > 0 && kLanes == 16 ? 16
                           : HEAD % 8 == 0 && HEAD > 0 && kLanes >= 8 ? 8
                                                                      : 4;

// All columns of a head: y[r] for `rows` rows; `causal`: row r needs only the keys up to first + r.
template <int HEAD, bool CAUSAL>
MICROGPT_INLINE void mix(const float* weights, int row_step, int key_step, int rows, int depth, int first,
                         const Span& x, int head, float* y, size_t y_stride, bool add) {
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

// Lanes of queries t0 ... that may look at key s.
MICROGPT_INLINE Lane visible(Lane x, int s, int t0, Lane hidden) {
    const Lane lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return s > t0 ? (lane >= float(s - t0) ? x : hidden) : x;
}

// Scores of M keys in registers, from s = 0 on, to weights in memory; all in one go for short documents.
template <int M>
MICROGPT_INLINE void softmax_tile(const Lane (&scores)[M], int t0, float* out) {
    Lane highest = scores[0], total = {}, e[M];  // key 0 is visible to all
#pragma GCC unroll 8
    for (int s = 1; s < M; s++) highest = visible(larger<kQueries>(highest, scores[s]), s, t0, highest);
#pragma GCC unroll 8
    for (int s = 0; s < M; s++) total += e[s] = visible(exponential<kQueries>(scores[s] - highest), s, t0, Lane{});
    const Lane scale = 1.0f / total;
#pragma GCC unroll 8
    for (int s = 0; s < M; s++) store<kQueries>(out + s * kQueries, e[s] * scale);
}

// The same in place, for any number of keys.
MICROGPT_INLINE void softmax_down(float* scores, int keys, int t0) {
    Lane highest = load<kQueries>(scores), total = {};
    for (int s = 1; s < keys; s++) {
        highest = visible(larger<kQueries>(highest, load<kQueries>(scores + size_t(s) * kQueries)), s, t0, highest);
    }
    for (int s = 0; s < keys; s++) {
        float* at = scores + size_t(s) * kQueries;
        const Lane e = visible(exponential<kQueries>(load<kQueries>(at) - highest), s, t0, Lane{});
        total += e;
        store<kQueries>(at, e);
    }
    const Lane scale = 1.0f / total;
    for (int s = 0; s < keys; s++) {
        float* at = scores + size_t(s) * kQueries;
        store<kQueries>(at, load<kQueries>(at) * scale);
    }
}

// Attention weights of a block of queries: softmax of the scores of `keys` keys.
template <int HEAD, int M = kQueries>
MICROGPT_INLINE void attention_weights(const float* transposed, const Span& rows, int keys, int t0, int head,
                                       float* out) {
    if (keys > M) {
        scores<HEAD>(transposed, rows, keys, head, out);
        softmax_down(out, keys, t0);
    } else if (keys == M) {
        Lane sums[M];
        scores_tile<M, HEAD>(transposed, rows, 0, head, sums);
        softmax_tile<M>(sums, t0, out);
    } else if constexpr (M > 1) {
        attention_weights<HEAD, M - 1>(transposed, rows, keys, t0, head, out);
    }
}

// d_scores[s][lane] = weight * (d_weight - sum over s of weight * d_weight) * factor: softmax's derivative, where
// d_weight[s] = d_mixed . value[s].
template <int HEAD, int M = kQueries>
MICROGPT_INLINE void score_gradients(const float* transposed, const Span& values, const float* weights, int keys,
                                     int head, float factor, float* out) {
    if (keys > M) {
        scores<HEAD>(transposed, values, keys, head, out);
        Lane total = {};
        for (int s = 0; s < keys; s++) {
            total += load<kQueries>(weights + size_t(s) * kQueries) * load<kQueries>(out + size_t(s) * kQueries);
        }
        for (int s = 0; s < keys; s++) {
            float* at = out + size_t(s) * kQueries;
            store<kQueries>(at, load<kQueries>(weights + size_t(s) * kQueries) * (load<kQueries>(at) - total) * factor);
        }
    } else if (keys == M) {
        Lane d[M], total = {};
        scores_tile<M, HEAD>(transposed, values, 0, head, d);
#pragma GCC unroll 8
        for (int s = 0; s < M; s++) total += load<kQueries>(weights + s * kQueries) * d[s];
#pragma GCC unroll 8
        for (int s = 0; s < M; s++) {
            store<kQueries>(out + s * kQueries, load<kQueries>(weights + s * kQueries) * (d[s] - total) * factor);
        }
    } else if constexpr (M > 1) {
        score_gradients<HEAD, M - 1>(transposed, values, weights, keys, head, factor, out);
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
            attention_weights<HEAD>(scratch.queries, k, keys, t0, head, weights);
            mix<HEAD, true>(weights, 1, kQueries, own, keys, t0, v, head, mixed + (t0 - shared) * mixed_stride + column,
                            mixed_stride, false);
            if (ticker.spend(2L * keys * kQueries * (head + 8))) return;
        }
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
            const Span q = {queries + at * stride + column, stride},
                       d = {d_mixed + at * mixed_stride + column, mixed_stride};
            float* d_keys = d_kv + column;
            transpose_rows<HEAD>(d, 0, own, head, 1.0f, scratch.queries);
            score_gradients<HEAD>(scratch.queries, v, weights, keys, head, factor, scratch.scores);
            mix<HEAD, true>(scratch.scores, 1, kQueries, own, keys, t0, k, head, d_queries + at * stride + column,
                            stride, false);
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
