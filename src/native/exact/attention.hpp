// One layer's attention, forward and backward: `reference.attend` for all heads and positions of a
// document.
//
// A square [key position u][query position t] has t in its lanes; it is used where u <= t and is
// zero below, so that the sums over all u (or t) that follow add nothing there: x + 0 and x - 0 are
// x.
#pragma once

#include "tape.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// Sizes and constants of a head, and scratch for backward.
struct AttentionScratch {
    Buffer<double> by_key;    // [key][query]: gradient by the weights, then by the logits
    Buffer<double> by_query;  // [query][key]: the same, transposed
    Buffer<double> weights;   // [query][key]: attention weights

    void lay_out(Index stride) {
        const Index square = times(stride, stride);
        by_key.grow(square), by_query.grow(square), weights.grow(square);
    }
};

class Attention {
public:
    Attention(const Shape& shape, double one_by_root_head_dim)
        : n_head_(shape.n_head),
          size_(shape.head_dim),
          n_embd_(shape.n_embd),
          by_root_(one_by_root_head_dim) {}

    void forward(LayerTape& l, Index positions, Index stride, const Libm& libm, Stop& stop) const {
        for (Index h = 0; h < n_head_; h++) {
            double* exps = l.exps + h * stride * stride;
            for (Index t = 0; t < stride; t += lanes) {
                head_forward(l, h, exps, t, positions, stride, libm);
                stop.work(2 * lanes * size_ * (t + lanes));
            }
        }
    }

    // dmixed, dqkv: [n_embd][stride], [3 n_embd][stride].
    void backward(const LayerTape& l, const double* dmixed, double* dqkv, Index positions,
                  Index stride, AttentionScratch& scratch, const Libm& libm, Stop& stop) const {
        scratch.lay_out(stride);
        for (Index h = n_head_ - 1; h >= 0; h--) {
            const double* exps = l.exps + h * stride * stride;
            double* by_key = scratch.by_key.data();
            for (Index t = 0; t < stride; t += lanes) {
                logit_gradient(l, h, exps, dmixed, by_key, t, positions, stride, libm);
                weights_by_query(l, h, exps, scratch.weights.data(), t, stride);
                query_gradient(l, h, by_key, dqkv, t, positions, stride);
                stop.work(4 * lanes * size_ * (t + lanes));
            }
            for (Index t = 0; t < stride; t += lanes)
                transpose_queries(by_key, t, scratch.by_query.data(), stride);
            for (Index u = 0; u < stride; u += lanes) {
                const double* dhead = dmixed + h * size_ * stride;
                const double* queries = l.qkv + h * size_ * stride;
                key_fold(scratch.by_query.data(), queries, dqkv + (n_embd_ + h * size_) * stride, u,
                         positions, stride);
                key_fold(scratch.weights.data(), dhead, dqkv + (2 * n_embd_ + h * size_) * stride,
                         u, positions, stride);
                stop.work(2 * lanes * size_ * (positions - u));
            }
        }
    }

private:
    // Keys that the lanes t .. t + lanes - 1 may look at.
    static Index keys_for(Index t, Index positions) {
        return t + lanes < positions ? t + lanes : positions;
    }

    void head_forward(LayerTape& l, Index h, double* exps, Index t, Index positions, Index stride,
                      const Libm& libm) const {
        const Index keys = keys_for(t, positions);
        const double* query = l.qkv + h * size_ * stride + t;
        const double* key = l.qkv + (n_embd_ + h * size_) * stride;
        const double* value = l.qkv + (2 * n_embd_ + h * size_) * stride;
        const Bits position = lane_numbers() + broadcast_bits(t);
        Vec highest = broadcast(-__builtin_inf());
        for (Index u = 0; u < keys; u++) {
            Vec sum{};
            for (Index j = 0; j < size_; j++)
                sum = sum + load(query + j * stride) * broadcast(key[j * stride + u]);
            const Vec logit = sum * by_root_;
            store(exps + u * stride + t, logit);
            highest = select(position < broadcast_bits(u), highest, larger(highest, logit));
        }
        Vec total{};
        for (Index u = 0; u < keys; u++) {
            const Vec e = libm.exp(load(exps + u * stride + t) - highest);
            const Vec seen = select(position < broadcast_bits(u), Vec{}, e);
            store(exps + u * stride + t, seen);
            total = total + seen;
        }
        for (Index u = keys; u < stride; u++) store(exps + u * stride + t, Vec{});
        const Vec inverse = libm.pow(total, -1);
        store(l.totals + h * stride + t, total);
        store(l.inverses + h * stride + t, inverse);
        for (Index j = 0; j < size_; j++) {
            Vec sum{};
            for (Index u = 0; u < keys; u++)
                sum =
                    sum + load(exps + u * stride + t) * inverse * broadcast(value[j * stride + u]);
            store(l.mixed + (h * size_ + j) * stride + t, sum);
        }
    }

    // `x` in the lanes, queries t ..., that may look at key u; the others keep `before`. A weight
    // of zero would not do: zero times a gradient that is not finite is not zero.
    static Vec visible(Vec before, Vec x, Index u, Index t) {
        return u > t ? select(lane_numbers() + broadcast_bits(t) < broadcast_bits(u), before, x)
                     : x;
    }

    // by_key[u][t] = d loss / d (query_t . key_u): through the weight, its quotient and the
    // exponential.
    void logit_gradient(const LayerTape& l, Index h, const double* exps, const double* dmixed,
                        double* by_key, Index t, Index positions, Index stride,
                        const Libm& libm) const {
        const Index keys = keys_for(t, positions);
        const double* value = l.qkv + (2 * n_embd_ + h * size_) * stride;
        const double* dhead = dmixed + h * size_ * stride + t;
        const Vec by_total = -libm.pow(load(l.totals + h * stride + t), -2);
        const Vec inverse = load(l.inverses + h * stride + t);
        Vec dtotal{};
        for (Index u = keys - 1; u >= 0; u--) {
            Vec dweight{};
            for (Index j = size_ - 1; j >= 0; j--)
                dweight = dweight + broadcast(value[j * stride + u]) * load(dhead + j * stride);
            store(by_key + u * stride + t, dweight);
            dtotal =
                visible(dtotal, dtotal + by_total * (load(exps + u * stride + t) * dweight), u, t);
        }
        for (Index u = 0; u < keys; u++) {
            const Vec dexp = inverse * load(by_key + u * stride + t) + dtotal;
            store(by_key + u * stride + t,
                  visible(Vec{}, by_root_ * (load(exps + u * stride + t) * dexp), u, t));
        }
        for (Index u = keys; u < stride; u++) store(by_key + u * stride + t, Vec{});
    }

    // weights[t][u] for the queries of one vector.
    static void weights_by_query(const LayerTape& l, Index h, const double* exps, double* weights,
                                 Index t, Index stride) {
        const Vec inverse = load(l.inverses + h * stride + t);
        for (Index u = 0; u < t + lanes; u += lanes) {
            Vec square[lanes];
            for (int i = 0; i < lanes; i++) square[i] = load(exps + (u + i) * stride + t) * inverse;
            transpose(square);
            for (int i = 0; i < lanes; i++) store(weights + (t + i) * stride + u, square[i]);
        }
    }

    // by_query[t][u] = by_key[u][t] for the queries of one vector.
    static void transpose_queries(const double* by_key, Index t, double* by_query, Index stride) {
        for (Index u = 0; u < t + lanes; u += lanes) {
            Vec square[lanes];
            for (int i = 0; i < lanes; i++) square[i] = load(by_key + (u + i) * stride + t);
            transpose(square);
            for (int i = 0; i < lanes; i++) store(by_query + (t + i) * stride + u, square[i]);
        }
    }

    // dquery[j][t] = fold over keys u descending of key[j][u] * by_key[u][t].
    void query_gradient(const LayerTape& l, Index h, const double* by_key, double* dqkv, Index t,
                        Index positions, Index stride) const {
        const double* key = l.qkv + (n_embd_ + h * size_) * stride;
        for (Index j = 0; j < size_; j++) {
            Vec sum{};
            for (Index u = keys_for(t, positions) - 1; u >= 0; u--)
                sum = sum + broadcast(key[j * stride + u]) * load(by_key + u * stride + t);
            store(dqkv + (h * size_ + j) * stride + t, sum);
        }
    }

    // to[j][u] = fold over queries t descending, from the last to u itself, of square[t][u] *
    // x[j][t]: a key's and a value's gradient get the later positions' shares first, their own
    // last. Near the end some lanes' keys lie past t: these are left out, as in `visible`.
    void key_fold(const double* square, const double* x, double* to, Index u, Index positions,
                  Index stride) const {
        for (Index j = 0; j < size_; j++) {
            Vec sum{};
            for (Index t = positions - 1; t >= u; t--) {
                const Vec more = sum + load(square + t * stride + u) * broadcast(x[j * stride + t]);
                sum =
                    t < u + lanes - 1
                        ? select(broadcast_bits(t) < lane_numbers() + broadcast_bits(u), sum, more)
                        : more;
            }
            store(to + j * stride + u, sum);
        }
    }

    Index n_head_, size_, n_embd_;  // size: head_dim
    double by_root_;                // (head_dim ** 0.5) ** -1
};

}  // namespace microgpt::exact::MICROGPT_ISA
