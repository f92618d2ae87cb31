// Attention of heads 4 wide, as the reference has them, with the heads of a position side by side
// in a vector: lanes 4 h ... 4 h + 3 are head h. One query after the other meets the keys up to its
// own position and no more: in a short document most of a block of queries and keys would be
// masked. Scores, weights and their gradients are stored by fours of keys: lane 4 h + j of four g
// is head h's for key 4 g + j, zero past the query.
#pragma once

#include "block.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// Lane j of each four, four times.
template <int J>
MICROGPT_INLINE Vector each(Vector x) {
    return in_fours<J, J, J, J>(x, x);
}

// Reductions: the sum, and the largest, of each four lanes, in all four.
MICROGPT_INLINE Vector sum_fours(Vector x) {
    x += in_fours<1, 0, 3, 2>(x, x);
    return x + in_fours<2, 3, 0, 1>(x, x);
}

MICROGPT_INLINE Vector largest_fours(Vector x) {
    x = larger<kLanes>(x, in_fours<1, 0, 3, 2>(x, x));
    return larger<kLanes>(x, in_fours<2, 3, 0, 1>(x, x));
}

// 0, 1, 2, 3 in each four lanes.
MICROGPT_INLINE Vector key_numbers() {
    Vector lane;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) lane[i] = float(i % 4);
    return lane;
}

// Rows 4 g ... 4 g + 3; past row t that one again, so that nothing outside the rows is read.
struct Four {
    const float *first, *second, *third, *fourth;
    MICROGPT_INLINE Four(const ConstRows& rows, int g, int t) {
        const int later = t - 4 * g;
        first = rows.row(4 * g), second = first + (later < 1 ? later : 1) * rows.stride;
        third = first + (later < 2 ? later : 2) * rows.stride,
        fourth = first + (later < 3 ? later : 3) * rows.stride;
    }
    // Lane 4 h + j: x times row j, summed over head h.
    MICROGPT_INLINE Vector times(Vector x) const {
        const Vector a = x * load<kLanes>(first), b = x * load<kLanes>(second),
                     c = x * load<kLanes>(third), d = x * load<kLanes>(fourth);
        const Vector ab = in_fours<0, 4, 1, 5>(a, b) + in_fours<2, 6, 3, 7>(a, b);
        const Vector cd = in_fours<0, 4, 1, 5>(c, d) + in_fours<2, 6, 3, 7>(c, d);
        return in_fours<0, 1, 4, 5>(ab, cd) + in_fours<2, 3, 6, 7>(ab, cd);
    }
    // The rows, each head's times its weight.
    MICROGPT_INLINE Vector mixed(Vector weights) const {
        return (each<0>(weights) * load<kLanes>(first) + each<1>(weights) * load<kLanes>(second)) +
               (each<2>(weights) * load<kLanes>(third) + each<3>(weights) * load<kLanes>(fourth));
    }
};

// Attention weights of the query at position t, fours `attn` floats apart; returns what they mix.
MICROGPT_INLINE Vector attend_query(Vector query, const ConstRows& keys, const ConstRows& values,
                                    int t, int attn, float* weights) {
    const int last = t / 4;
    const auto visible = key_numbers() <= float(t - 4 * last);  // of the last four
    const auto at = [&](int g) { return weights + size_t(g) * attn; };
    Vector highest =
        visible ? Four(keys, last, t).times(query) : broadcast<kLanes>(-__builtin_inff());
    store<kLanes>(at(last), highest);
    for (int g = 0; g < last; g++) {
        const Vector score = Four(keys, g, t).times(query);
        store<kLanes>(at(g), score);
        highest = larger<kLanes>(score, highest);
    }
    highest = largest_fours(highest);
    Vector total = {}, mixed = {};
    for (int g = 0; g <= last; g++) {
        Vector e = exponential<kLanes>(load<kLanes>(at(g)) - highest);
        if (g == last) e = visible ? e : Vector{};
        store<kLanes>(at(g), e);
        total += e;
        mixed += Four(values, g, t).mixed(e);
    }
    const Vector share = 1.0f / sum_fours(total);
    for (int g = 0; g <= last; g++) store<kLanes>(at(g), load<kLanes>(at(g)) * share);
    return mixed * share;
}

// Attention weights of a block's queries, [query][four][attn], and what they mix.
MICROGPT_INLINE void attend_narrow(const Block& b, int attn, float* weights,
                                   const MutableRows& mixed) {
    const size_t row = size_t((b.count + 3) / 4) * attn;
    for (int c = 0; c < attn; c += kLanes) {
        for (int i = 0; i < b.rows; i++) {
            const Vector query = load<kLanes>(b.queries.row(i) + c) * b.factor;
            store<kLanes>(mixed.row(i) + c,
                          attend_query(query, b.keys.from(c), b.values.from(c), b.t0 + i, attn,
                                       weights + size_t(i) * row + c));
        }
    }
}

// Gradients by the scores of query i, from those by what it mixed, as the weights stand; returns
// the one by the query.
MICROGPT_INLINE Vector query_gradient(const Block& b, int i, int attn, const float* weights,
                                      Vector d_mixed, float* d_scores) {
    const int t = b.t0 + i, last = t / 4;
    Vector total = {}, d_query = {};
    for (int g = 0; g <= last; g++) {
        const Vector d = Four(b.values, g, t).times(d_mixed);
        store<kLanes>(d_scores + g * kLanes, d);
        total += load<kLanes>(weights + size_t(g) * attn) * d;
    }
    total = sum_fours(total);
    for (int g = 0; g <= last; g++) {
        float* at = d_scores + g * kLanes;
        const Vector d =
            load<kLanes>(weights + size_t(g) * attn) * (load<kLanes>(at) - total) * b.factor;
        store<kLanes>(at, d);
        d_query += Four(b.keys, g, t).mixed(d);
    }
    return d_query;
}

// Four sums of rows, for up to four keys from 4 g on: what each of a block's queries gives them, by
// its weights.
struct Sums {
    Vector part[4];
    MICROGPT_INLINE Sums(const MutableRows& rows, int g, int count, bool add) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            part[j] = add && 4 * g + j < count ? load<kLanes>(rows.row(4 * g + j)) : Vector{};
        }
    }
    MICROGPT_INLINE void take(Vector weights, Vector row) {
        part[0] += each<0>(weights) * row, part[1] += each<1>(weights) * row;
        part[2] += each<2>(weights) * row, part[3] += each<3>(weights) * row;
    }
    MICROGPT_INLINE void put(const MutableRows& rows, int g, int count) const {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            if (4 * g + j < count) store<kLanes>(rows.row(4 * g + j), part[j]);
        }
    }
};

// Gradients by queries, keys and values from those by what they mixed; values `attn` columns behind
// their keys. Keys and values add to what is there if `add`. d_scores: [kQueries][four][kLanes].
MICROGPT_INLINE void attend_narrow_backward(const Block& b, int attn, const float* weights,
                                            const ConstRows& d_mixed, const MutableRows& d_queries,
                                            const MutableRows& d_keys, bool add, float* d_scores) {
    const int fours = (b.count + 3) / 4;
    for (int c = 0; c < attn; c += kLanes) {
        const Block part = b.from(c);
        const auto weights_of = [&](int i) { return weights + size_t(i) * fours * attn + c; };
        const auto d_scores_of = [&](int i) { return d_scores + size_t(i) * fours * kLanes; };
        for (int i = 0; i < b.rows; i++) {
            const Vector d = load<kLanes>(d_mixed.row(i) + c);
            const Vector d_query = query_gradient(part, i, attn, weights_of(i), d, d_scores_of(i));
            store<kLanes>(d_queries.row(i) + c, d_query);
        }
        for (int g = 0; g < fours; g++) {
            const MutableRows key_rows = d_keys.from(c), value_rows = d_keys.from(attn + c);
            Sums keys(key_rows, g, b.count, add), values(value_rows, g, b.count, add);
            for (int i = 4 * g > b.t0 ? 4 * g - b.t0 : 0; i < b.rows; i++) {
                keys.take(load<kLanes>(d_scores_of(i) + g * kLanes),
                          load<kLanes>(part.queries.row(i)));
                values.take(load<kLanes>(weights_of(i) + size_t(g) * attn),
                            load<kLanes>(d_mixed.row(i) + c));
            }
            keys.put(key_rows, g, b.count), values.put(value_rows, g, b.count);
        }
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
