// Forward and backward over the rows of one group of documents, whole matrices at a time (teacher
// forcing: the tokens of all positions are known). A row is one distinct position; there is no
// padding. Stands for reference.gpt, document_loss and Value.backward.
#pragma once

#include "attention.hpp"
#include "embedding_products.hpp"
#include "norm.hpp"
#include "products.hpp"

namespace microgpt::fast::MICROGPT_ISA {

template <int EMBD, int HEAD>
void layer_forward(const Model& model, const Rows& rows, const Group& g, int layer,
                   Scratch& scratch, Ticker& ticker) {
    const int r0 = g.first_row, n = g.last_row - r0, hidden = EMBD ? 4 * EMBD : model.hidden;
    const int embd = EMBD ? EMBD : model.embd, attn = EMBD ? EMBD : model.attn;
    const int real = EMBD ? EMBD : model.n_embd,
              real_hidden = 4 * real;  // depths of the products, without padding
    const int real_attn = EMBD ? EMBD : model.n_head * model.head;
    const int es = model.embd_stride, as = model.attn_stride, hs = model.hidden_stride,
              qs = model.qkv_stride;
    const Layer& w = model.layers[layer];
    const LayerRows& a = rows.layers[layer];
    float *stream = from(rows.stream, r0, es), *normed1 = from(a.normed1, r0, es),
          *normed2 = from(a.normed2, r0, es);
    float *f = from(a.hidden, r0, hs), *input = layer ? rows.stream : rows.embedded;
    if (layer == 0) embed<EMBD>(model, rows, g);
    if (layer == 0 && rows.table_qkv) {
        first_qkv<EMBD>(model, rows, g);
    } else {
        rmsnorm<EMBD>(model, input, a.normed1, a.scale1, rows.sums, r0, r0 + n);
        product<EMBD>(normed1, es, n, w.qkv.forward, embd, real, 3 * attn,
                      Store{from(a.qkv, r0, qs), qs}, ticker);
    }
    for (int d = g.first_document; d < g.last_document && !ticker.stopped; d++) {
        attend<EMBD, HEAD>(model, rows.documents[d], a, scratch, ticker);
    }
    product<EMBD>(from(a.mixed, r0, as), as, n, w.wo.forward, attn, real_attn, embd,
                  StoreSum{stream, from(input, r0, es), es}, ticker);
    rmsnorm<EMBD>(model, rows.stream, a.normed2, a.scale2, rows.sums, r0, r0 + n);
    product<EMBD>(normed2, es, n, w.fc1.forward, embd, real, hidden, StoreRelu{f, hs}, ticker);
    product<4 * EMBD>(f, hs, n, w.fc2.forward, hidden, real_hidden, embd,
                      StoreSum{stream, stream, es}, ticker);
    if (layer + 1 == model.n_layer) {
        product<EMBD>(stream, es, n, model.lm_head.forward, embd, real, model.vocab,
                      Store{from(rows.logits, r0, model.vocab), model.vocab}, ticker);
    }
}

// Where the last vector of a row of logits begins that holds some of the vocabulary's.
MICROGPT_INLINE int last_vector(const Model& model) {
    return (model.vocab_size - 1) / kLanes * kLanes;
}

// That vector, `fill` for columns past the vocabulary.
MICROGPT_INLINE Vector within(const Model& model, Vector x, float fill) {
    return lane_numbers<kLanes>() < float(model.vocab_size - last_vector(model))
               ? x
               : broadcast<kLanes>(fill);
}

MICROGPT_INLINE float highest(const Model& model, const float* row) {
    const int last = last_vector(model);
    Vector largest_lanes = within(model, load<kLanes>(row + last), -__builtin_inff());
#pragma GCC unroll 4
    for (int j = 0; j < last; j += kLanes)
        largest_lanes = larger<kLanes>(load<kLanes>(row + j), largest_lanes);
    return largest<kLanes>(largest_lanes);
}

// One row of logits to e^(logit - shift), zeros past the vocabulary; returns their sum.
MICROGPT_INLINE float exponentials(const Model& model, float* row, float shift) {
    const int last = last_vector(model);
    Vector total = within(model, exponential<kLanes>(load<kLanes>(row + last) - shift), 0.0f);
    store<kLanes>(row + last, total);
    for (int j = last + kLanes; j < model.vocab; j += kLanes) store<kLanes>(row + j, Vector{});
#pragma GCC unroll 4
    for (int j = 0; j < last; j += kLanes) {
        const Vector e = exponential<kLanes>(load<kLanes>(row + j) - shift);
        store<kLanes>(row + j, e);
        total += e;
    }
    return sum<kLanes>(total);
}

constexpr int kSoftmaxRows = 64, kSoftmaxFloats = 4096;  // that go together: within L1

// Logits of `count` rows from r on to the logarithm of the sum of their exponentials, in rows.sums;
// and, if DERIVATIVE, to weight * softmax, in place. Each step goes over all rows, so that one
// row's waiting is another's work.
template <bool DERIVATIVE>
void softmax_rows(const Model& model, const Rows& rows, int r, int count) {
    const int n = model.vocab;
    float *logits = from(rows.logits, r, n), shifts[kSoftmaxRows], sums[kSoftmaxRows];
    for (int i = 0; i < count; i++) shifts[i] = highest(model, from(logits, i, n));
    for (int i = 0; i < count; i++) sums[i] = exponentials(model, from(logits, i, n), shifts[i]);
    for (int i = count; i % kLanes; i++) shifts[i] = 0.0f, sums[i] = 1.0f;
    for (int i = 0; i < count && DERIVATIVE; i++) {
        float *row = from(logits, i, n), scale = rows.weight[r + i] / sums[i];
#pragma GCC unroll 4
        for (int j = 0; j < n; j += kLanes) store<kLanes>(row + j, load<kLanes>(row + j) * scale);
    }
    for (int i = 0; i < count; i += kLanes) {
        store<kLanes>(sums + i,
                      load<kLanes>(shifts + i) + logarithm<kLanes>(load<kLanes>(sums + i)));
    }
    for (int i = 0; i < count; i++) rows.sums[r + i] = sums[i];
}

// Logits -> log p of the entries and, if DERIVATIVE, the loss's gradient by the logits, in place:
// weight * softmax - the weights of the row's targets.
template <bool DERIVATIVE>
void output(const Model& model, const Rows& rows, const Group& g, Ticker& ticker) {
    const int n = model.vocab;
    const auto at = [&](int e) -> float& {
        return from(rows.logits, rows.entry_row[e], n)[rows.entry_target[e]];
    };
    for (int e = g.first_entry; e < g.last_entry; e++) rows.entry_log_probability[e] = at(e);
    const int fit = kSoftmaxFloats / n, together = fit < 1              ? 1
                                                   : fit < kSoftmaxRows ? fit
                                                                        : kSoftmaxRows;
    for (int r = g.first_row, count; r < g.last_row; r += count) {
        count = g.last_row - r < together ? g.last_row - r : together;
        if (ticker.spend(16L * n * count)) return;
        softmax_rows<DERIVATIVE>(model, rows, r, count);
    }
    for (int e = g.first_entry; e < g.last_entry; e++) {
        rows.entry_log_probability[e] -= rows.sums[rows.entry_row[e]];
        if (DERIVATIVE) at(e) -= rows.entry_weight[e];
    }
}

template <int EMBD>
void output_backward(const Model& model, const Rows& rows, const Group& g, Ticker& ticker) {
    const int r0 = g.first_row, n = g.last_row - r0, es = model.embd_stride;
    output<true>(model, rows, g, ticker);
    product<0>(from(rows.logits, r0, model.vocab), model.vocab, n, model.lm_head.backward,
               model.vocab, model.vocab_size, EMBD ? EMBD : model.embd,
               Store{from(rows.d_stream[model.n_layer % 2], r0, es), es}, ticker);
}

template <int EMBD, int HEAD>
void layer_backward(const Model& model, const Rows& rows, const Group& g, int layer,
                    Scratch& scratch, Ticker& ticker) {
    const int r0 = g.first_row, n = g.last_row - r0, hidden = EMBD ? 4 * EMBD : model.hidden;
    const int embd = EMBD ? EMBD : model.embd, attn = EMBD ? EMBD : model.attn;
    const int real = EMBD ? EMBD : model.n_embd,
              real_hidden = 4 * real;  // depths of the products, without padding
    const int es = model.embd_stride, as = model.attn_stride, hs = model.hidden_stride,
              qs = model.qkv_stride;
    const Layer& w = model.layers[layer];
    const LayerRows& a = rows.layers[layer];
    float *d_output = rows.d_stream[(layer + 1) % 2], *d_input = rows.d_stream[layer % 2];
    float *d_normed = from(rows.temporary, r0, es), *d_hidden = from(rows.d_hidden, r0, hs);
    // x = middle + fc2 relu(fc1 rmsnorm(middle))
    product<EMBD>(from(d_output, r0, es), es, n, w.fc2.backward, embd, real, hidden,
                  StoreGated{d_hidden, from(a.hidden, r0, hs), hs}, ticker);
    product<4 * EMBD>(d_hidden, hs, n, w.fc1.backward, hidden, real_hidden, embd,
                      Store{d_normed, es}, ticker);
    rmsnorm_backward<EMBD>(model, rows.temporary, a.normed2, a.scale2, d_output, rows.d_middle, r0,
                           r0 + n);
    // middle = x + wo attention(qkv rmsnorm(x))
    product<EMBD>(from(rows.d_middle, r0, es), es, n, w.wo.backward, embd, real, attn,
                  Store{from(rows.d_mixed, r0, as), as}, ticker);
    for (int d = g.first_document; d < g.last_document && !ticker.stopped; d++) {
        const Document& document = rows.documents[d];
        attend_backward<EMBD, HEAD>(model, document, a, from(rows.d_mixed, document.first_row, as),
                                    rows.d_qkv, scratch, ticker);
    }
    if (layer == 0 && rows.table_qkv) {
        first_qkv_backward<EMBD>(model, rows, g);
        return;
    }
    product<3 * EMBD>(from(rows.d_qkv, r0, qs), qs, n, w.qkv.backward, 3 * attn, 3 * attn, embd,
                      Store{d_normed, es}, ticker);
    rmsnorm_backward<EMBD>(model, rows.temporary, a.normed1, a.scale1, rows.d_middle, d_input, r0,
                           r0 + n);
    if (layer == 0) {
        rmsnorm_backward<EMBD>(model, d_input, rows.embedded, rows.scale0, nullptr, d_input, r0,
                               r0 + n);
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
