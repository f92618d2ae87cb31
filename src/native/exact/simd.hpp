// Vectors of float64 for one instruction set: as many lanes as MICROGPT_LANES says (2, 4 or 8).
//
// Arithmetic uses the compilers' generic vectors, so this file compiles for any processor.
// Intrinsics are used only for what generic vectors lack: FMA, gather, masks. Every function below
// rounds each lane exactly as the scalar operation would. Nothing here sums across lanes.
#pragma once

#include <cstdint>
#include <cstring>

#if MICROGPT_LANES > 2
#include <immintrin.h>
#endif

#include "../shape.hpp"

namespace microgpt::exact::MICROGPT_ISA {

constexpr int lanes = MICROGPT_LANES;
constexpr bool has_fma = MICROGPT_LANES > 2;

typedef double Vec __attribute__((vector_size(8 * MICROGPT_LANES)));
typedef std::int64_t Bits
    __attribute__((vector_size(8 * MICROGPT_LANES)));  // also the result of comparisons: 0 or -1
typedef std::uint64_t Unsigned __attribute__((vector_size(8 * MICROGPT_LANES)));
typedef double Unaligned __attribute__((vector_size(8 * MICROGPT_LANES), aligned(8), may_alias));

MICROGPT_INLINE Vec load(const double* from) { return *reinterpret_cast<const Unaligned*>(from); }
MICROGPT_INLINE void store(double* to, Vec x) { *reinterpret_cast<Unaligned*>(to) = x; }
MICROGPT_INLINE Vec broadcast(double x) { return x - Vec{}; }  // x - 0 is x, also for -0
MICROGPT_INLINE Bits broadcast_bits(std::int64_t x) { return x - Bits{}; }
MICROGPT_INLINE Bits bits_of(Vec x) { return reinterpret_cast<Bits>(x); }
MICROGPT_INLINE Vec from_bits(Bits x) { return reinterpret_cast<Vec>(x); }
// Sums and differences of bit patterns, modulo 2^64: signed integers must not overflow.
MICROGPT_INLINE Bits wrapped_sum(Bits x, Bits y) {
    return reinterpret_cast<Bits>(reinterpret_cast<Unsigned>(x) + reinterpret_cast<Unsigned>(y));
}
MICROGPT_INLINE Bits wrapped_difference(Bits x, Bits y) {
    return reinterpret_cast<Bits>(reinterpret_cast<Unsigned>(x) - reinterpret_cast<Unsigned>(y));
}
MICROGPT_INLINE Vec select(Bits mask, Vec yes, Vec no) { return mask ? yes : no; }
MICROGPT_INLINE Vec larger(Vec x, Vec y) { return x < y ? y : x; }  // x where either is NaN
MICROGPT_INLINE Vec magnitude(Vec x) { return from_bits(bits_of(x) & broadcast_bits(INT64_MAX)); }

// 0, 1, 2, ... in the lanes.
MICROGPT_INLINE Bits lane_numbers() {
    Bits numbers;
    for (int i = 0; i < lanes; i++) numbers[i] = i;
    return numbers;
}

#if MICROGPT_LANES == 8
MICROGPT_INLINE Vec fma(Vec x, Vec y, Vec z) { return _mm512_fmadd_pd(x, y, z); }
MICROGPT_INLINE Vec square_root(Vec x) { return _mm512_maskz_sqrt_pd(0xff, x); }
MICROGPT_INLINE Vec gather(const double* table, Bits index) {
    return _mm512_mask_i64gather_pd(Vec{}, 0xff, reinterpret_cast<__m512i>(index), table, 8);
}
MICROGPT_INLINE unsigned mask_of(Bits mask) {
    return _mm512_movepi64_mask(reinterpret_cast<__m512i>(mask));
}
MICROGPT_INLINE unsigned mask_differs(Vec x, Vec y) {
    return _mm512_cmp_pd_mask(x, y, _CMP_NEQ_UQ);
}
MICROGPT_INLINE unsigned mask_greater(Vec x, Vec y) { return _mm512_cmp_pd_mask(x, y, _CMP_GT_OQ); }
MICROGPT_INLINE unsigned mask_less(Unsigned x, Unsigned y) {
    return _mm512_cmplt_epu64_mask(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(y));
}
#elif MICROGPT_LANES == 4
MICROGPT_INLINE Vec fma(Vec x, Vec y, Vec z) { return _mm256_fmadd_pd(x, y, z); }
MICROGPT_INLINE Vec square_root(Vec x) { return _mm256_sqrt_pd(x); }
MICROGPT_INLINE Vec gather(const double* table, Bits index) {
    return _mm256_i64gather_pd(table, reinterpret_cast<__m256i>(index), 8);
}
MICROGPT_INLINE unsigned mask_of(Bits mask) {
    return _mm256_movemask_pd(reinterpret_cast<__m256d>(mask));
}
MICROGPT_INLINE unsigned mask_differs(Vec x, Vec y) { return mask_of(x != y); }
MICROGPT_INLINE unsigned mask_greater(Vec x, Vec y) { return mask_of(x > y); }
MICROGPT_INLINE unsigned mask_less(Unsigned x, Unsigned y) { return mask_of(x < y); }
#else
MICROGPT_INLINE unsigned mask_of(Bits mask) { return (mask[0] & 1) | (mask[1] & 2); }
#endif

MICROGPT_INLINE bool any(Bits mask) { return mask_of(mask) != 0; }

// A number known to the compiler, to choose a tile by.
template <int n>
struct Count {
    static constexpr int value = n;
};

// Transposes a square of lanes x lanes numbers.
MICROGPT_INLINE void transpose(Vec (&rows)[lanes]) {
#if MICROGPT_LANES == 8
    Vec pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            quads[j] = __builtin_shufflevector(pairs[j], pairs[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            quads[j + 2] =
                __builtin_shufflevector(pairs[j], pairs[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        rows[i] = __builtin_shufflevector(quads[i], quads[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        rows[i + 4] = __builtin_shufflevector(quads[i], quads[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#elif MICROGPT_LANES == 4
    const Vec even01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 2, 6);
    const Vec odd01 = __builtin_shufflevector(rows[0], rows[1], 1, 5, 3, 7);
    const Vec even23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 2, 6);
    const Vec odd23 = __builtin_shufflevector(rows[2], rows[3], 1, 5, 3, 7);
    rows[0] = __builtin_shufflevector(even01, even23, 0, 1, 4, 5);
    rows[1] = __builtin_shufflevector(odd01, odd23, 0, 1, 4, 5);
    rows[2] = __builtin_shufflevector(even01, even23, 2, 3, 6, 7);
    rows[3] = __builtin_shufflevector(odd01, odd23, 2, 3, 6, 7);
#else
    const Vec first = Vec{rows[0][0], rows[1][0]};
    rows[1] = Vec{rows[0][1], rows[1][1]};
    rows[0] = first;
#endif
}

}  // namespace microgpt::exact::MICROGPT_ISA
