// Matrix products: activations times packed weights, in tiles that stay in registers.
// A tile is some rows of activations times some panels of weights: each step of the inner loop
// loads one vector of each panel, broadcasts one number of each row and does rows x panels FMAs.
#pragma once

#include "layout.hpp"
#include "vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// Epilogues: what a product does with a finished vector, which is row r, columns c ... c + kLanes -
// 1 of its result x.
struct Store {  // y = x
    float* y;
    int stride;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        store<kLanes>(y + size_t(r) * stride + c, x);
    }
};
struct StoreRelu {  // y = max(0, x)
    float* y;
    int stride;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        store<kLanes>(y + size_t(r) * stride + c, larger<kLanes>(x, Vector{}));
    }
};
struct StoreSum {  // y = base + x
    float* y;
    const float* base;
    int stride;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        const size_t at = size_t(r) * stride + c;
        store<kLanes>(y + at, load<kLanes>(base + at) + x);
    }
};
struct StoreGated {  // y = x where gate > 0, else 0: the derivative of StoreRelu
    float* y;
    const float* gate;
    int stride;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        const size_t at = size_t(r) * stride + c;
        store<kLanes>(y + at, load<kLanes>(gate + at) > 0.0f ? x : Vector{});
    }
};

// One tile: rows r ... r + M - 1 of x, P panels from column c on. K = 0: the depth is `depth`.
template <int M, int P, int K, class Epilogue>
MICROGPT_INLINE void product_tile(const float* x, int stride, const float* panel, size_t panel_size,
                                  int depth, int r, int c, const Epilogue& epilogue) {
    Vector sums[M][P] = {};
    const int n = K ? K : depth;
#pragma GCC unroll 2
    for (int k = 0; k < n; k++) {
        Vector w[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++)
            w[p] = load<kLanes>(panel + p * panel_size + size_t(k) * kLanes);
#pragma GCC unroll 16
        for (int i = 0; i < M; i++) {
            const Vector xi = broadcast<kLanes>(x[size_t(i) * stride + k]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) sums[i][p] += xi * w[p];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) epilogue(r + i, c + p * kLanes, sums[i][p]);
    }
}

template <int M, int P, int K, class Epilogue>
MICROGPT_INLINE void product_rows(int rows, const float* x, int stride, const float* panel,
                                  size_t panel_size, int depth, int r, int c,
                                  const Epilogue& epilogue) {
    if (rows == M) {
        product_tile<M, P, K>(x, stride, panel, panel_size, depth, r, c, epilogue);
    } else if constexpr (M > 1) {
        product_rows<M - 1, P, K>(rows, x, stride, panel, panel_size, depth, r, c, epilogue);
    }
}

// P panels from column c on, all rows, in tiles of nearly equal height.
template <int P, int K, class Epilogue>
__attribute__((noinline)) void product_panels(const float* x, int stride, int rows,
                                              const float* panel, size_t panel_size, int depth,
                                              int c, const Epilogue& epilogue, Ticker& ticker) {
    const int tiles = (rows + kRows - 1) / kRows, height = rows / tiles, higher = rows % tiles;
    for (int r = 0, tile = 0; tile < tiles; tile++) {
        const int m = height + (tile < higher);
        product_rows<kRows, P, K>(m, x + size_t(r) * stride, stride, panel, panel_size, depth, r, c,
                                  epilogue);
        if (ticker.spend(long(m) * depth * (P * kLanes))) return;
        r += m;
    }
}

// epilogue(r, c, sum over k < depth of x[r][k] w[c][k]), for all columns c < columns.
// panels: [columns / kLanes][padded_depth][kLanes].
template <int K, class Epilogue>
MICROGPT_INLINE void product(const float* x, int stride, int rows, const float* panels,
                             int padded_depth, int depth, int columns, const Epilogue& epilogue,
                             Ticker& ticker) {
    const size_t size = size_t(padded_depth) * kLanes;
    if (rows == 0) return;
    int left = columns / kLanes;
    for (const float* panel = panels; left > 0 && !ticker.stopped;) {
        const int c = columns - left * kLanes;
        // 4 panels are 2 + 2 rather than 3 + 1
        const int p = left == 4 || left < kPanels ? (left == 1 ? 1 : 2) : kPanels;
        if (p == kPanels) {
            product_panels<kPanels, K>(x, stride, rows, panel, size, depth, c, epilogue, ticker);
        } else if (kPanels > 2 && p == 2) {
            product_panels<2, K>(x, stride, rows, panel, size, depth, c, epilogue, ticker);
        } else {
            product_panels<1, K>(x, stride, rows, panel, size, depth, c, epilogue, ticker);
        }
        panel += p * size, left -= p;
    }
}

// ---- Weight gradients ---------------------------------------------------------------------------

constexpr int kGradientRows =
    256;  // rows whose strips of input and output gradient fit in L1 together

// Gradient of M outputs from o on by P panels of inputs: d_output^T input. Adds the squares of all
// to `check`, so that it tells whether they, which Adam takes, are finite; four, because one would
// be a chain as long as the work itself.
template <int M, int P>
MICROGPT_INLINE void gradient_tile(float* gradient, size_t panel_size, const float* d_output,
                                   int d_stride, const float* input, int stride, int rows, bool add,
                                   Vector (&check)[4]) {
    Vector sums[M][P];
#pragma GCC unroll 8
    for (int j = 0; j < M; j++) {
#pragma GCC unroll 4
        for (int p = 0; p < P; p++)
            sums[j][p] = add ? load<kLanes>(gradient + p * panel_size + j * kLanes) : Vector{};
    }
    for (int r = 0; r < rows; r++) {
        Vector x[P];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) x[p] = load<kLanes>(input + p * kLanes);
#pragma GCC unroll 8
        for (int j = 0; j < M; j++) {
            const Vector dy = broadcast<kLanes>(d_output[j]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) sums[j][p] += dy * x[p];
        }
        input += stride, d_output += d_stride;
    }
#pragma GCC unroll 8
    for (int j = 0; j < M; j++) {
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) {
            store<kLanes>(gradient + p * panel_size + j * kLanes, sums[j][p]);
            check[(j * P + p) % 4] += sums[j][p] * sums[j][p];
        }
    }
}

constexpr int kGradientOutputs = kRows >= 8 ? 8 : 4;  // kPad is a multiple of it

// P panels of inputs, outputs [first, last), all rows.
template <int P>
__attribute__((noinline)) void gradient_panels(const Matrix& w, float* gradient,
                                               const float* d_output, int d_stride,
                                               const float* input, int stride, int rows, int first,
                                               int last, bool add, Vector (&check)[4],
                                               Ticker& ticker) {
    const size_t size = size_t(w.out) * kLanes;
    for (int r = 0; r < rows; r += kGradientRows) {
        const int n = rows - r < kGradientRows ? rows - r : kGradientRows;
        for (int o = first; o < last; o += kGradientOutputs) {
            gradient_tile<kGradientOutputs, P>(
                gradient + size_t(o) * kLanes, size, d_output + size_t(r) * d_stride + o, d_stride,
                input + size_t(r) * stride, stride, n, add || r, check);
            if (ticker.spend(long(n) * kGradientOutputs * P * kLanes)) return;
        }
    }
}

inline bool finite(const Vector (&check)[4]) {
    return sum<kLanes>((check[0] + check[1]) + (check[2] + check[3])) < __builtin_inff();
}

bool gradient(const Matrix& w, const float* d_output, int d_stride, const float* input, int stride,
              int rows, int first, int last, bool add, Ticker& ticker) {
    Vector check[4] = {};
    int left = w.in / kLanes;
    for (int panel = 0; left > 0 && !ticker.stopped;) {
        float* to = w.gradient + size_t(panel) * w.out * kLanes;
        const float* x = input + panel * kLanes;
        const int p = left == 4 || left < 3 ? (left == 1 ? 1 : 2) : 3;
        const auto panels = p == 3   ? gradient_panels<3>
                            : p == 2 ? gradient_panels<2>
                                     : gradient_panels<1>;
        panels(w, to, d_output, d_stride, x, stride, rows, first, last, add, check, ticker);
        panel += p, left -= p;
    }
    return finite(check);
}

// Columns are independent, so that threads can split them; rows add up in order.
bool table_gradient(const Model& model, const Rows& rows, const Table& t, const float* d,
                    int stride, int count, int first, int last, bool add) {
    Vector check[4] = {};
    for (int i = 0; !add && i < t.rows; i++) {
        for (int c = first; c < last; c += kLanes)
            store<kLanes>(from(t.gradient, i, t.columns) + c, Vector{});
    }
    for (int r = 0; r < count; r++) {
        float* token = from(t.gradient, rows.token[r], t.columns);
        float* position = from(t.gradient, model.vocab_size + rows.position[r], t.columns);
        const float* x = d + size_t(r) * stride;
#pragma GCC unroll 4
        for (int c = first; c < last; c += kLanes) {
            const Vector by_token = load<kLanes>(token + c) + load<kLanes>(x + c);
            const Vector by_position = load<kLanes>(position + c) + load<kLanes>(x + c);
            store<kLanes>(token + c, by_token);
            store<kLanes>(position + c, by_position);
            check[r % 2] += by_token * by_token, check[2 + r % 2] += by_position * by_position;
        }
    }
    return finite(check);
}

}  // namespace microgpt::fast::MICROGPT_ISA
