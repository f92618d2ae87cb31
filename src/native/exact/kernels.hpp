// The sums of the model, in the reference's order, for many positions at once.
//
// Layout: an activation is [feature][position], one document's positions side by side, padded with
// zeros to whole vectors: `stride` numbers a row. So a lane is a position, every lane folds its own
// sum in the order of reference.py, and nothing is ever added across lanes. Weights keep the
// reference's layout, [output][input]; a weight is broadcast to all positions. Only gradients of
// weights, which fold over positions, have inputs in their lanes: they read activations as
// [position][feature].
#pragma once

#include "libm.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// Accumulators in a tile; the registers are the limit: 32 with AVX-512, else 16.
constexpr int tile = lanes == 8 ? 16 : 8;

constexpr Index whole_vectors(Index n) { return (n + lanes - 1) / lanes * lanes; }

// ---- linear: y[o][t] = fold over i ascending of w[o][i] * x[i][t] -------------------------------

// Zero, register by register: an initialiser would be written to memory first.
template <int rows, int vectors>
MICROGPT_INLINE void clear(Vec (&sum)[rows][vectors]) {
    for (int o = 0; o < rows; o++)
        for (int v = 0; v < vectors; v++) sum[o][v] = Vec{};
}

template <int rows, int vectors>
MICROGPT_INLINE void linear_tile(const double* w, Index inputs, const double* x, double* y,
                                 Index stride) {
    Vec sum[rows][vectors];
    clear(sum);
    for (Index i = 0; i < inputs; i++) {
        Vec xi[vectors];
        for (int v = 0; v < vectors; v++) xi[v] = load(x + i * stride + v * lanes);
        for (int o = 0; o < rows; o++)
            for (int v = 0; v < vectors; v++)
                sum[o][v] = sum[o][v] + broadcast(w[o * inputs + i]) * xi[v];
    }
    for (int o = 0; o < rows; o++)
        for (int v = 0; v < vectors; v++) store(y + o * stride + v * lanes, sum[o][v]);
}

template <int vectors>
void linear_columns(const double* w, Index outputs, Index inputs, const double* x, double* y,
                    Index stride, Stop& stop) {
    constexpr int most = tile / vectors;
    Index o = 0;
    const auto rows = [&](auto count) {
        for (; o + count.value <= outputs; o += count.value) {
            linear_tile<count.value, vectors>(w + o * inputs, inputs, x, y + o * stride, stride);
            stop.work(count.value * vectors * lanes * inputs);
        }
    };
    rows(Count<most>{}), rows(Count<most / 2>{}), rows(Count<most / 4>{}), rows(Count<1>{});
}

// reference.linear for all positions.
inline void linear(const double* w, Index outputs, Index inputs, const double* x, double* y,
                   Index stride, Stop& stop) {
    Index t = 0;
    for (; t + 2 * lanes <= stride; t += 2 * lanes)
        linear_columns<2>(w, outputs, inputs, x + t, y + t, stride, stop);
    if (t < stride) linear_columns<1>(w, outputs, inputs, x + t, y + t, stride, stop);
}

// ---- gradient by a linear's input: dx[i][t] = fold over k of w[order[k]][i] * dy[order[k]][t] ---

template <int columns, int vectors>
MICROGPT_INLINE void input_tile(const double* w, Index inputs, const double* dy,
                                const std::int32_t* order, Index count, double* dx, Index stride) {
    Vec sum[columns][vectors];
    clear(sum);
    for (Index k = 0; k < count; k++) {
        const Index o = order[k];
        Vec d[vectors];
        for (int v = 0; v < vectors; v++) d[v] = load(dy + o * stride + v * lanes);
        for (int i = 0; i < columns; i++)
            for (int v = 0; v < vectors; v++)
                sum[i][v] = sum[i][v] + broadcast(w[o * inputs + i]) * d[v];
    }
    for (int i = 0; i < columns; i++)
        for (int v = 0; v < vectors; v++) store(dx + i * stride + v * lanes, sum[i][v]);
}

template <int vectors>
void input_columns(const double* w, Index inputs, const double* dy, const std::int32_t* order,
                   Index count, double* dx, Index stride, Stop& stop) {
    constexpr int most = tile / vectors;
    Index i = 0;
    const auto columns = [&](auto wide) {
        for (; i + wide.value <= inputs; i += wide.value) {
            input_tile<wide.value, vectors>(w + i, inputs, dy, order, count, dx + i * stride,
                                            stride);
            stop.work(wide.value * vectors * lanes * count);
        }
    };
    columns(Count<most>{}), columns(Count<most / 2>{}), columns(Count<most / 4>{}),
        columns(Count<1>{});
}

// order: which outputs' contributions come first; `count` of them.
inline void linear_input_gradient(const double* w, Index inputs, const double* dy,
                                  const std::int32_t* order, Index count, double* dx, Index stride,
                                  Stop& stop) {
    Index t = 0;
    for (; t + 2 * lanes <= stride; t += 2 * lanes)
        input_columns<2>(w, inputs, dy + t, order, count, dx + t, stride, stop);
    if (t < stride) input_columns<1>(w, inputs, dy + t, order, count, dx + t, stride, stop);
}

// The same fold for the first position alone, with inputs in the lanes: there the order differs.
inline void linear_input_gradient_at_0(const double* w, Index inputs, const double* dy,
                                       const std::int32_t* order, Index count, double* dx,
                                       Index stride, Stop& stop) {
    Index i = 0;
    for (; i + lanes <= inputs; i += lanes) {
        Vec sum{};
        for (Index k = 0; k < count; k++) {
            const Index o = order[k];
            sum = sum + load(w + o * inputs + i) * broadcast(dy[o * stride]);
        }
        for (int l = 0; l < lanes; l++) dx[(i + l) * stride] = sum[l];
        stop.work(lanes * count);
    }
    for (; i < inputs; i++) {
        double sum = 0;
        for (Index k = 0; k < count; k++)
            sum = sum + w[order[k] * inputs + i] * dy[order[k] * stride];
        dx[i * stride] = sum;
        stop.work(count);
    }
}

// ---- gradient by weights: g[o][i] += fold over positions t descending of x[t][i] * dy[o][t] -----

// Reads or writes the first `valid` lanes.
MICROGPT_INLINE Vec load_part(const double* from, Index valid) {
    if (valid >= lanes) return load(from);
    Vec x{};
    for (Index l = 0; l < valid; l++) x[l] = from[l];
    return x;
}
MICROGPT_INLINE void store_part(double* to, Vec x, Index valid) {
    if (valid >= lanes) return store(to, x);
    for (Index l = 0; l < valid; l++) to[l] = x[l];
}

// whole: all lanes are inputs; else only the first `valid`.
template <int rows, int vectors, bool whole>
MICROGPT_INLINE void weight_tile(const double* x, Index x_stride, const double* dy, Index stride,
                                 Index positions, bool fresh, double* g, Index inputs,
                                 Index valid) {
    Vec sum[rows][vectors];
    if (fresh)
        clear(sum);
    else
        for (int o = 0; o < rows; o++)
            for (int v = 0; v < vectors; v++)
                sum[o][v] =
                    load_part(g + o * inputs + v * lanes, whole ? lanes : valid - v * lanes);
    for (Index t = positions - 1; t >= 0; t--) {
        Vec xt[vectors];
        for (int v = 0; v < vectors; v++) xt[v] = load(x + t * x_stride + v * lanes);
        for (int o = 0; o < rows; o++)
            for (int v = 0; v < vectors; v++)
                sum[o][v] = sum[o][v] + broadcast(dy[o * stride + t]) * xt[v];
    }
    for (int o = 0; o < rows; o++)
        for (int v = 0; v < vectors; v++)
            store_part(g + o * inputs + v * lanes, sum[o][v], whole ? lanes : valid - v * lanes);
}

// x: [position][whole_vectors(inputs)]. fresh: the fold starts at zero, not at what g holds.
inline void linear_weight_gradient(const double* x, const double* dy, Index stride, Index positions,
                                   bool fresh, double* g, Index outputs, Index inputs, Stop& stop) {
    const Index x_stride = whole_vectors(inputs);
    Index i = 0;
    const auto columns = [&](auto vectors, auto whole) {
        constexpr int most = tile / vectors.value;
        Index o = 0;
        const auto rows = [&](auto count) {
            for (; o + count.value <= outputs; o += count.value) {
                weight_tile<count.value, vectors.value, whole.value>(
                    x + i, x_stride, dy + o * stride, stride, positions, fresh, g + o * inputs + i,
                    inputs, inputs - i);
                stop.work(count.value * vectors.value * lanes * positions);
            }
        };
        rows(Count<most>{}), rows(Count<most / 2>{}), rows(Count<most / 4>{}), rows(Count<1>{});
        i += vectors.value * lanes;
    };
    while (i + 2 * lanes <= inputs) columns(Count<2>{}, Count<true>{});
    if (i + lanes <= inputs) columns(Count<1>{}, Count<true>{});
    if (i < inputs) columns(Count<1>{}, Count<false>{});
}

// [rows][from_stride] -> [columns][to_stride]. Rows and columns past the last whole vector may be
// read (from_stride whole vectors, to_stride likewise) but what lies past `columns` rows of `to`
// stays.
inline void transpose(const double* from, Index from_stride, Index rows, double* to,
                      Index to_stride, Index columns) {
    for (Index r = 0; r < rows; r += lanes)
        for (Index c = 0; c < columns; c += lanes) {
            Vec square[lanes];
            const double* corner = from + r * from_stride + c;
            if (r + lanes <= rows)
                for (int i = 0; i < lanes; i++) square[i] = load(corner + i * from_stride);
            else
                for (int i = 0; i < lanes; i++)
                    square[i] = r + i < rows ? load(corner + i * from_stride) : Vec{};
            transpose(square);
            for (int i = 0; i < lanes; i++)
                if (c + i < columns) store(to + (c + i) * to_stride + r, square[i]);
        }
}

// ---- rmsnorm ------------------------------------------------------------------------------------

// y = x * scale, scale = (fold of x^2 / n_embd + 1e-5) ** -0.5; mean_square keeps the bracket.
inline void rmsnorm(const double* x, double* y, double* mean_square, double* scale, Index n_embd,
                    double one_by_n_embd, Index stride, const Libm& libm) {
    for (Index t = 0; t < stride; t += lanes) {
        Vec sum{};
        for (Index i = 0; i < n_embd; i++) {
            const Vec xi = load(x + i * stride + t);
            sum = sum + xi * xi;
        }
        const Vec mean = sum * one_by_n_embd + 1e-5;
        const Vec factor = libm.pow(mean, -0.5);
        store(mean_square + t, mean);
        store(scale + t, factor);
        for (Index i = 0; i < n_embd; i++)
            store(y + i * stride + t, load(x + i * stride + t) * factor);
    }
}

// dx, which holds the residual's share, takes rmsnorm's: the products' first, then the squares',
// which come twice because both factors of x * x are x.
inline void rmsnorm_backward(const double* x, const double* dy, double* dx,
                             const double* mean_square, const double* scale, Index n_embd,
                             double one_by_n_embd, Index stride, const Libm& libm) {
    for (Index t = 0; t < stride; t += lanes) {
        const Vec factor = load(scale + t);
        Vec by_scale{};
        for (Index i = n_embd - 1; i >= 0; i--)
            by_scale = by_scale + load(x + i * stride + t) * load(dy + i * stride + t);
        const Vec by_square =
            one_by_n_embd * ((-0.5 * libm.pow(load(mean_square + t), -1.5)) * by_scale);
        for (Index i = 0; i < n_embd; i++) {
            const Vec share = load(x + i * stride + t) * by_square;
            Vec sum = load(dx + i * stride + t) + factor * load(dy + i * stride + t);
            sum = sum + share;
            store(dx + i * stride + t, sum + share);
        }
    }
}

}  // namespace microgpt::exact::MICROGPT_ISA
