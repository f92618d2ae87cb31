// Muon for the fast engine (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
// networks"): a matrix moves along its momentum with all singular values brought near 1, by
// Newton-Schulz steps, which need products alone. Stands for reference_recipe.muon.
#pragma once

#include "products.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// A section of a matrix, rows first ... last - 1, transposed where it is wide: tall[rows][columns],
// row-major, rows >= columns.
struct Section {
    const Matrix& w;
    int first, last;
    bool transposed;  // rows of `tall` are the matrix's inputs
    int rows, columns;
};

MICROGPT_INLINE Section section_of(const Matrix& w, int first, int last) {
    const int out = last - first;
    return out >= w.in ? Section{w, first, last, false, out, w.in}
                       : Section{w, first, last, true, w.in, out};
}

struct StorePolynomial {  // y = a g + b x, all [columns / kLanes][columns][kLanes]
    float* y;
    const float* g;
    int columns;
    float a, b;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        const size_t at = (size_t(c / kLanes) * columns + r) * kLanes;
        store<kLanes>(y + at, load<kLanes>(g + at) * a + x * b);
    }
};
struct StoreScaledSum {  // y = a base + x
    float* y;
    const float* base;
    int stride;
    float a;
    MICROGPT_INLINE void operator()(int r, int c, Vector x) const {
        const size_t at = size_t(r) * stride + c;
        store<kLanes>(y + at, load<kLanes>(base + at) * a + x);
    }
};

// The momentum goes on by the gradient; tall = Nesterov's look ahead of it.
inline void momentum(const Section& s, float beta, float* tall) {
    for (int i = 0; i < s.w.in; i += kLanes) {
        for (int o = s.first; o < s.last; o += kLanes) {
            Vector tile[kLanes];
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++) {
                const size_t k = size_t(i) * s.w.out + size_t(o + j) * kLanes;
                const Vector g = load<kLanes>(s.w.gradient + k) * (1.0f - beta);
                const Vector m = load<kLanes>(s.w.m + k) * beta + g;
                store<kLanes>(s.w.m + k, m);
                tile[j] = g + m * beta;
            }
            if (s.transposed) transpose(tile);
            const int row = s.transposed ? i : o - s.first, column = s.transposed ? o - s.first : i;
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++)
                store<kLanes>(tall + size_t(row + j) * s.columns + column, tile[j]);
        }
    }
}

// x to length 1 (Frobenius); zeros stay zeros. Sums in runs of a row, so that float is enough.
inline void normalise(float* x, int rows, int columns) {
    double total = 0.0;
    for (int r = 0; r < rows; r++) {
        Vector run = {};
        for (int c = 0; c < columns; c += kLanes) {
            const Vector v = load<kLanes>(x + size_t(r) * columns + c);
            run += v * v;
        }
        total += double(sum<kLanes>(run));
    }
    const double length = __builtin_sqrt(total);
    const float scale = float(1.0 / (length > 1e-7 ? length : 1e-7));
    for (size_t k = 0; k < size_t(rows) * columns; k += kLanes)
        store<kLanes>(x + k, load<kLanes>(x + k) * scale);
}

// x = a x + b (x x') x + c (x x')^2 x, five times: singular values in (0, 1] end in about 0.7
// ... 1.2 (the coefficients of Jordan et al.). spare: as large as x; gram: 3 columns^2. Returns
// the one of the two that holds the result.
inline float* newton_schulz(float* x, float* spare, float* gram, int rows, int n, Ticker& ticker) {
    constexpr float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    float *panels = gram, *plain = gram + size_t(n) * n, *polynomial = plain + size_t(n) * n;
    const Matrix target{nullptr, nullptr, panels, nullptr, nullptr, n, n};
    for (int step = 0; step < 5; step++) {
        gradient(target, x, n, x, n, rows, 0, n, false, ticker);  // panels = x' x
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j += kLanes) {
                store<kLanes>(plain + size_t(i) * n + j,
                              load<kLanes>(panels + (size_t(j / kLanes) * n + i) * kLanes));
            }
        }
        product<0>(plain, n, n, panels, n, n, n, StorePolynomial{polynomial, panels, n, b, c},
                   ticker);
        product<0>(x, n, rows, polynomial, n, n, n, StoreScaledSum{spare, x, n, a}, ticker);
        float* const last = x;
        x = spare, spare = last;
    }
    return x;
}

// w = keep w - rate * direction, in both layouts.
inline void move(const Section& s, const float* direction, float rate, float keep) {
    const Matrix& w = s.w;
    for (int i = 0; i < w.in; i += kLanes) {
        for (int o = s.first; o < s.last; o += kLanes) {
            float* forward = w.forward + size_t(o) * w.in + size_t(i) * kLanes;
            float* backward = w.backward + size_t(i) * w.out + size_t(o) * kLanes;
            const int row = s.transposed ? i : o - s.first, column = s.transposed ? o - s.first : i;
            float *along = s.transposed ? forward : backward,
                  *across = s.transposed ? backward : forward;
            Vector tile[kLanes];
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++) {
                const Vector d = load<kLanes>(direction + size_t(row + j) * s.columns + column);
                tile[j] = load<kLanes>(along + j * kLanes) * keep - d * rate;
                store<kLanes>(along + j * kLanes, tile[j]);
            }
            transpose(tile);
#pragma GCC unroll 16
            for (int j = 0; j < kLanes; j++) store<kLanes>(across + j * kLanes, tile[j]);
        }
    }
}

// Rows first ... last - 1 of a matrix, multiples of kPad. memory: muon_floats of them. Once begun,
// it is finished.
inline void muon(const Matrix& w, int first, int last, const MuonUpdate& u, float* memory) {
    const Section s = section_of(w, first, last);
    const size_t size = size_t(s.rows) * s.columns;
    Ticker endless{nullptr, nullptr, __LONG_MAX__, false};
    momentum(s, u.beta, memory);
    normalise(memory, s.rows, s.columns);
    const float* direction =
        newton_schulz(memory, memory + size, memory + 2 * size, s.rows, s.columns, endless);
    move(s, direction, u.rate, u.keep);
}

}  // namespace microgpt::fast::MICROGPT_ISA
