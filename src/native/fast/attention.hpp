// Causal attention of one document, forward and backward: where its rows are, block of queries
// after block.
#pragma once

#include "narrow.hpp"
#include "wide.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// Widths and strides of a layer's rows, known to the compiler where EMBD and HEAD are.
template <int EMBD, int HEAD>
struct Widths {
    const Model& model;
    MICROGPT_INLINE int n_head() const { return EMBD ? EMBD / HEAD : model.n_head; }
    MICROGPT_INLINE int head() const { return HEAD ? HEAD : model.head; }
    MICROGPT_INLINE int attn() const { return EMBD ? EMBD : model.attn; }
    MICROGPT_INLINE size_t mixed_stride() const {
        return size_t(EMBD ? stride_for(EMBD) : model.attn_stride);
    }
    MICROGPT_INLINE size_t qkv_stride() const {
        return size_t(EMBD ? stride_for(3 * EMBD) : model.qkv_stride);
    }
    MICROGPT_INLINE float factor() const {
        return 1.0f / __builtin_sqrtf(float(EMBD ? HEAD : model.head_dim));
    }
};

// Keys and values of all a document's positions, `width` floats each: in place, or gathered.
MICROGPT_INLINE ConstRows keys_values(const ConstRows& rows, int width, const Document& document,
                                      float* gathered) {
    if (document.contiguous) return {rows.row(document.path[0]), rows.stride};
    for (int t = 0; t < document.positions; t++) {
        const float* from = rows.row(document.path[t]);
        float* to = gathered + size_t(t) * width;
        for (int j = 0; j < width; j += kLanes) store<kLanes>(to + j, load<kLanes>(from + j));
    }
    return {gathered, size_t(width)};
}

// The block of queries from position t0 on.
template <int EMBD, int HEAD>
MICROGPT_INLINE Block block_at(const Widths<EMBD, HEAD>& widths, const Document& document,
                               const float* qkv, const ConstRows& keys, int t0) {
    const int end = document.positions, count = t0 + kQueries < end ? t0 + kQueries : end;
    const ConstRows queries = {qkv, widths.qkv_stride()};
    return {{queries.row(document.first_row + t0 - document.shared), queries.stride},
            keys,
            keys.from(widths.attn()),
            t0,
            count - t0,
            count,
            widths.head(),
            widths.factor()};
}

// One document, one layer: qkv of all its positions -> attention weights, and `mixed` of its own
// rows.
template <int EMBD, int HEAD>
void attend(const Model& model, const Document& document, const LayerRows& rows, Scratch& scratch,
            Ticker& ticker) {
    if (document.shared == document.positions) return;  // all of it is in earlier rows
    const Widths<EMBD, HEAD> widths{model};
    const int n_head = widths.n_head(), head = widths.head(), attn = widths.attn();
    const ConstRows keys =
        keys_values({rows.qkv + attn, widths.qkv_stride()}, 2 * attn, document, scratch.gathered);
    MutableRows mixed = {rows.mixed + size_t(document.first_row) * widths.mixed_stride(),
                         widths.mixed_stride()};
    float* weights = rows.attention + document.attention;
    for (int t0 = document.shared; t0 < document.positions; t0 += kQueries) {
        const Block b = block_at(widths, document, rows.qkv, keys, t0);
        if constexpr (HEAD == 4) {
            attend_narrow(b, attn, weights, mixed);
        } else {
            attend_wide<HEAD>(b, n_head, weights, mixed, scratch);
        }
        weights += attention_floats(n_head, b.count), mixed.at = mixed.row(kQueries);
        if (ticker.spend(2L * n_head * b.count * kQueries * (head + 8))) return;
    }
}

MICROGPT_INLINE void clear(const MutableRows& rows, int width, int first, int last) {
    for (int t = first; t < last; t++) {
        for (int j = 0; j < width; j += kLanes) store<kLanes>(rows.row(t) + j, Vector{});
    }
}

// Gradients by keys and values that were gathered, to their rows; shared rows collect from every
// document.
MICROGPT_INLINE void scatter(const ConstRows& d_keys, int width, const Document& document,
                             const MutableRows& rows) {
    for (int t = 0; t < document.positions; t++) {
        float* to = rows.row(document.path[t]);
        for (int j = 0; j < width; j += kLanes) {
            const Vector d = load<kLanes>(d_keys.row(t) + j);
            store<kLanes>(to + j, t < document.shared ? load<kLanes>(to + j) + d : d);
        }
    }
}

// Gradients by queries, keys and values from d_mixed, which begins with the document's own rows.
template <int EMBD, int HEAD>
void attend_backward(const Model& model, const Document& document, const LayerRows& rows,
                     const float* d_mixed, float* d_qkv, Scratch& scratch, Ticker& ticker) {
    if (document.shared == document.positions) return;
    const Widths<EMBD, HEAD> widths{model};
    const int n_head = widths.n_head(), head = widths.head(), attn = widths.attn(),
              shared = document.shared;
    const ConstRows keys =
        keys_values({rows.qkv + attn, widths.qkv_stride()}, 2 * attn, document, scratch.gathered);
    const float* weights = rows.attention + document.attention;
    const bool in_place = document.contiguous;
    const MutableRows d_rows = {d_qkv, widths.qkv_stride()}, d_all = d_rows.from(attn);
    MutableRows d_queries = {d_rows.row(document.first_row), d_rows.stride},
                d_keys = {scratch.d_gathered, 2 * size_t(attn)};
    if (in_place) d_keys = {d_all.row(document.path[0]), d_all.stride};
    ConstRows d = {d_mixed, widths.mixed_stride()};
    // Several blocks of queries give to the same keys, and several documents to rows in place that
    // they share.
    const bool add = document.positions - shared > kQueries || (in_place && shared > 0);
    if (add) clear(d_keys, 2 * attn, in_place ? shared : 0, document.positions);
    for (int t0 = shared; t0 < document.positions; t0 += kQueries) {
        const Block b = block_at(widths, document, rows.qkv, keys, t0);
        if constexpr (HEAD == 4) {
            attend_narrow_backward(b, attn, weights, d, d_queries, d_keys, add, scratch.scores);
        } else {
            attend_wide_backward<HEAD>(b, n_head, weights, d, d_queries, d_keys, attn, add,
                                       scratch);
        }
        weights += attention_floats(n_head, b.count), d.at = d.row(kQueries),
                                                      d_queries.at = d_queries.row(kQueries);
        if (ticker.spend(4L * n_head * b.count * kQueries * (head + 8))) return;
    }
    if (!in_place) scatter({d_keys.at, d_keys.stride}, 2 * attn, document, d_all);
}

}  // namespace microgpt::fast::MICROGPT_ISA
