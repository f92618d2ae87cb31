// Vectors of floats for the fast engine: loads, stores, transposes and exp for 4, 8 and 16 lanes.
// Written in GCC's and Clang's vector types, so that one source serves SSE2, AVX2, AVX-512 and
// NEON; a product followed by a sum becomes one FMA where the instruction set has it
// (-ffp-contract=fast).
//
// This file and everything it is included by lives in a namespace of its own for each instruction
// set, MICROGPT_ISA, and uses no template of the standard library: the linker keeps one copy of
// such a template for the whole module, and it must not be the one with instructions this machine
// lacks.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../shape.hpp"

namespace microgpt::fast::MICROGPT_ISA {

template <int L>
struct Types;
template <>
struct Types<4> {
    typedef float Floats __attribute__((vector_size(16)));
    typedef int32_t Ints __attribute__((vector_size(16)));
};
template <>
struct Types<8> {
    typedef float Floats __attribute__((vector_size(32)));
    typedef int32_t Ints __attribute__((vector_size(32)));
};
template <>
struct Types<16> {
    typedef float Floats __attribute__((vector_size(64)));
    typedef int32_t Ints __attribute__((vector_size(64)));
};
template <int L>
using Floats = typename Types<L>::Floats;
template <int L>
using Ints = typename Types<L>::Ints;

// kLanes: floats in one register. kRows x kPanels accumulators fill the registers of a product and
// leave room for kPanels operands and one broadcast.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 8, kPanels = 3;  // 24 of 32 registers
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6, kPanels = 2;  // 12 of 16
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRows = 8, kPanels = 2;  // 16 of 32
#else
constexpr int kLanes = 4, kRows = 4,
              kPanels = 2;  // 8 of 16: a product and its sum need a register between
#endif
typedef Floats<kLanes> Vector;

template <int L>
MICROGPT_INLINE Floats<L> load(const float* from) {
    Floats<L> x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

template <int L>
MICROGPT_INLINE void store(float* to, Floats<L> x) {
    __builtin_memcpy(to, &x, sizeof x);
}

// x - 0 is x, so that this is a broadcast alone; 0 + x is not for -0, and costs an addition each
// time.
template <int L>
MICROGPT_INLINE Floats<L> broadcast(float x) {
    return x - Floats<L>{};
}

template <int L>
MICROGPT_INLINE Floats<L> larger(Floats<L> a, Floats<L> b) {
    return a > b ? a : b;
}

// The lower and the upper half.
MICROGPT_INLINE void halve(Floats<8> x, Floats<4>& low, Floats<4>& high) {
    low = __builtin_shufflevector(x, x, 0, 1, 2, 3),
    high = __builtin_shufflevector(x, x, 4, 5, 6, 7);
}
MICROGPT_INLINE void halve(Floats<16> x, Floats<8>& low, Floats<8>& high) {
    low = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
    high = __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
}

template <int L>
MICROGPT_INLINE float sum(Floats<L> x) {
    if constexpr (L == 4) {
        return (x[0] + x[2]) + (x[1] + x[3]);
    } else {
        Floats<L / 2> low, high;
        halve(x, low, high);
        return sum<L / 2>(low + high);
    }
}

template <int L>
MICROGPT_INLINE float largest(Floats<L> x) {
    if constexpr (L == 4) {
        const float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
        return a > b ? a : b;
    } else {
        Floats<L / 2> low, high;
        halve(x, low, high);
        return largest<L / 2>(larger<L / 2>(low, high));
    }
}

// 0, 1, 2 ...
template <int L>
MICROGPT_INLINE Floats<L> lane_numbers() {
    Floats<L> lane;
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) lane[i] = float(i);
    return lane;
}

// Square root of each lane, rounded as IEEE-754 asks.
MICROGPT_INLINE Floats<4> square_root(Floats<4> x) {
#if defined(__SSE2__)
    return (Floats<4>)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
    return (Floats<4>)vsqrtq_f32((float32x4_t)x);
#else
    return Floats<4>{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]),
                     __builtin_sqrtf(x[3])};
#endif
}
MICROGPT_INLINE Floats<8> square_root(Floats<8> x) {
#if defined(__AVX__)
    return (Floats<8>)_mm256_sqrt_ps((__m256)x);
#else
    Floats<4> half[2];
    __builtin_memcpy(half, &x, sizeof x);
    half[0] = square_root(half[0]), half[1] = square_root(half[1]);
    __builtin_memcpy(&x, half, sizeof x);
    return x;
#endif
}
#if defined(__AVX512F__)
MICROGPT_INLINE Floats<16> square_root(Floats<16> x) {
    return (Floats<16>)_mm512_maskz_sqrt_ps(__mmask16(-1), (__m512)x);
}
#endif

// e^x for x <= 0, relative error at most 2e-7; e^-87 below -87. NaN stays NaN.
// 2^(n + r) with n whole and |r| <= 1/2: the bits of n go into the exponent, a polynomial gives 2^r
// (Cephes' coefficients of exp2f, rounded to float).
template <int L>
MICROGPT_INLINE Floats<L> exponential(Floats<L> x) {
    constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it leaves round(t) in the low bits
    x = x < -87.0f ? broadcast<L>(-87.0f) : x;
    const Floats<L> shifted = x * 1.44269504f + kShift, n = shifted - kShift;
    Floats<L> r = x * 1.44269504f - n;
    r = x * 1.9259629e-8f + r;  // the rest of log2(e) = 1.44269504 + 1.9259629e-8
    Floats<L> p = r * 1.535336188e-4f + 1.339887440e-3f;
    p = p * r + 9.618437357e-3f;
    p = p * r + 5.550332548e-2f;
    p = p * r + 2.402264791e-1f;
    p = p * r + 6.931472028e-1f;
    p = p * r + 1.0f;
    return (Floats<L>)((Ints<L>)p + ((Ints<L>)shifted << 23));
}

// ln x for x >= 1, absolute error at most 2e-7 below x = 2 and relative 1e-7 beyond. NaN stays NaN.
// x = 2^n (1 + f) with 1 + f within sqrt(1/2) ... sqrt(2), a polynomial for ln(1 + f) (Cephes'
// coefficients of logf).
template <int L>
MICROGPT_INLINE Floats<L> logarithm(Floats<L> x) {
    const Ints<L> n = ((Ints<L>)x - 0x3f3504f3) >> 23;  // 0x3f3504f3: the bits of sqrt(1/2)
    const Floats<L> f = (Floats<L>)((Ints<L>)x - (n << 23)) - 1.0f,
                    exponent = __builtin_convertvector(n, Floats<L>);
    Floats<L> p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const Floats<L> square = f * f;
    const Floats<L> rest = exponent * -2.12194440e-4f - square * 0.5f + p * f * square;
    return exponent * 0.693359375f + (f + rest) + x * 0.0f;
}

// The lane that index i means in the four that begins at `four`: i of the first of two vectors, i -
// 4 of the second.
constexpr int lane_in_four(int i, int four, int lanes) {
    return i < 4 ? four + i : lanes + four + i - 4;
}

// Each four neighbouring lanes from the same four of x (0 ... 3) and y (4 ... 7).
template <int A, int B, int C, int D>
MICROGPT_INLINE Floats<4> in_fours(Floats<4> x, Floats<4> y) {
    return __builtin_shufflevector(x, y, A, B, C, D);
}
#define MICROGPT_FOUR(four, lanes)                                                            \
    lane_in_four(A, four, lanes), lane_in_four(B, four, lanes), lane_in_four(C, four, lanes), \
        lane_in_four(D, four, lanes)
template <int A, int B, int C, int D>
MICROGPT_INLINE Floats<8> in_fours(Floats<8> x, Floats<8> y) {
    return __builtin_shufflevector(x, y, MICROGPT_FOUR(0, 8), MICROGPT_FOUR(4, 8));
}
template <int A, int B, int C, int D>
MICROGPT_INLINE Floats<16> in_fours(Floats<16> x, Floats<16> y) {
    return __builtin_shufflevector(x, y, MICROGPT_FOUR(0, 16), MICROGPT_FOUR(4, 16),
                                   MICROGPT_FOUR(8, 16), MICROGPT_FOUR(12, 16));
}
#undef MICROGPT_FOUR

// Transposes the 4 x 4 blocks that four registers hold side by side.
template <class F>
MICROGPT_INLINE void transpose_fours(F& r0, F& r1, F& r2, F& r3) {
    const F a = in_fours<0, 4, 1, 5>(r0, r1), b = in_fours<2, 6, 3, 7>(r0, r1);
    const F c = in_fours<0, 4, 1, 5>(r2, r3), d = in_fours<2, 6, 3, 7>(r2, r3);
    r0 = in_fours<0, 1, 4, 5>(a, c), r1 = in_fours<2, 3, 6, 7>(a, c);
    r2 = in_fours<0, 1, 4, 5>(b, d), r3 = in_fours<2, 3, 6, 7>(b, d);
}

// Transposes of L x L blocks held in L registers: 4 x 4 blocks inside, then blocks swapped.
MICROGPT_INLINE void transpose(Floats<4> (&r)[4]) { transpose_fours(r[0], r[1], r[2], r[3]); }

MICROGPT_INLINE void transpose(Floats<8> (&r)[8]) {
    transpose_fours(r[0], r[1], r[2], r[3]);
    transpose_fours(r[4], r[5], r[6], r[7]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const Floats<8> low = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        r[i] = low;
    }
}

#if defined(__AVX512F__)
MICROGPT_INLINE void transpose(Floats<16> (&r)[16]) {
    Floats<16> u[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) transpose_fours(r[i], r[i + 1], r[i + 2], r[i + 3]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {  // quarters: a 4 x 4 transpose of 128-bit pieces
#pragma GCC unroll 2
        for (int j = 0; j < 16; j += 8) {
            const Floats<16> a = r[i + j], b = r[i + j + 4];
            u[i + j] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24,
                                               25, 26, 27);
            u[i + j + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23,
                                                   28, 29, 30, 31);
        }
        r[i] = __builtin_shufflevector(u[i], u[i + 8], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24,
                                       25, 26, 27);
        r[i + 8] = __builtin_shufflevector(u[i], u[i + 8], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22,
                                           23, 28, 29, 30, 31);
        r[i + 4] = __builtin_shufflevector(u[i + 4], u[i + 12], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17,
                                           18, 19, 24, 25, 26, 27);
        r[i + 12] = __builtin_shufflevector(u[i + 4], u[i + 12], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21,
                                            22, 23, 28, 29, 30, 31);
    }
}
#endif

}  // namespace microgpt::fast::MICROGPT_ISA
