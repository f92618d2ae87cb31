// exp, log and pow exactly as the C library of this process computes them.
//
// Python's math.exp, math.log and ** are the C library's functions, whose results are not always
// the correctly rounded ones. So the exact engine either calls them, lane by lane, or uses the
// vector forms below. These restate the algorithm of glibc 2.28 and later on processors with FMA
// (by Szabolcs Nagy, in ARM's optimized routines): the same tables, polynomials and roundings.
// Whether they equal the running library is not assumed but probed, value by value, before they are
// used.
#pragma once

#include "exact.hpp"
#include "simd.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// ---- Lane by lane, through the C library -------------------------------------------------------

inline Vec system_exp(Vec x) {
    for (int i = 0; i < lanes; i++) x[i] = system_libm.exp(x[i]);
    return x;
}

inline Vec system_pow(Vec x, double y) {
    for (int i = 0; i < lanes; i++) x[i] = system_libm.pow(x[i], y);
    return x;
}

#if MICROGPT_LANES > 2

// ---- Tables, made by the compiler in 113-bit arithmetic -----------------------------------------

typedef __float128 Wide;

// 2^(i/128) as head * (1 + tail); the head without i's share of the exponent, ready to be added to
// k << 45.
struct ExpTable {
    double tail[128];
    std::int64_t head[128];
};

// For x in the i-th of 128 intervals: 1/c near the interval's centre, in 8 bits, and log(c) as head
// + tail.
struct LogTable {
    double inverse[128], head[128], tail[128];
};

constexpr Wide square_root_of(Wide x) {
    Wide root = 1 + (x - 1) / 2;
    for (int i = 0; i < 9; i++) root = (root + x / root) / 2;  // Newton's, from x near 1: quadratic
    return root;
}

constexpr Wide log_of(Wide x) {  // 2 artanh((x-1)/(x+1)); x from 0.7 to 1.5
    const Wide s = (x - 1) / (x + 1);
    Wide power = s, sum = 0;
    for (int n = 1; n < 60; n += 2, power *= s * s) sum += power / n;
    return 2 * sum;
}

constexpr ExpTable make_exp_table() {
    ExpTable table{};
    for (int i = 0; i < 128; i++) {
        Wide exact = 1, root = 2;
        for (int bit = 64; bit; bit /= 2) {
            root = square_root_of(root);
            if (i & bit) exact *= root;
        }
        const double head = static_cast<double>(exact);
        table.tail[i] = static_cast<double>((exact - head) / head);
        table.head[i] =
            __builtin_bit_cast(std::int64_t, head) - (static_cast<std::int64_t>(i) << 45);
    }
    return table;
}

constexpr std::int64_t log_start = 0x3fe6955500000000;  // the intervals start at this number's bits

constexpr LogTable make_log_table() {
    LogTable table{};
    for (std::int64_t i = 0; i < 128; i++) {
        const double low = __builtin_bit_cast(double, log_start + (i << 45));
        const double high = __builtin_bit_cast(double, log_start + ((i + 1) << 45));
        const double centre = (low + high) / 2, scale = centre > 1 ? 256 : 128;
        const double inverse = static_cast<std::int64_t>(scale / centre + 0.5) / scale;
        const Wide exact = -log_of(inverse);
        const Wide shifted =
            exact * static_cast<Wide>(1LL << 43);  // the head keeps 43 bits behind the point
        const double head =
            static_cast<double>(static_cast<std::int64_t>(shifted + (shifted < 0 ? -0.5 : 0.5))) /
            static_cast<double>(1LL << 43);
        table.inverse[i] = inverse;
        table.head[i] = head;
        table.tail[i] = static_cast<double>(exact - head);
    }
    return table;
}

constexpr ExpTable exp_table = make_exp_table();
constexpr LogTable log_table = make_log_table();

// ---- exp and pow in lanes -----------------------------------------------------------------------

// exp(x + tail) for |x| below `exp_limit`; tail is far below x. Below -512 the library takes the
// power of two out and rounds the last sum twice, so results differ there.
// x = k/128 ln 2 + r, exp(x) = 2^(k/128) * (1 + r + r^2/2 + ...), r within ln 2 / 256.
constexpr double exp_limit = 512;
MICROGPT_INLINE Vec exp_of_sum(Vec x, Vec tail, bool has_tail) {
    const Vec shift = broadcast(0x1.8p52);  // x + shift has k in its low bits
    const Vec shifted = fma(x, broadcast(0x1.71547652b82fep+7), shift);
    const Bits k = bits_of(shifted);
    const Vec whole = shifted - shift;
    Vec r = fma(whole, broadcast(-0x1.62e42fefa0000p-8), x);
    r = fma(whole, broadcast(-0x1.cf79abc9e3b3ap-47), r);
    if (has_tail) r = r + tail;
    const Bits index = k & broadcast_bits(127);
    const Bits head = bits_of(gather(reinterpret_cast<const double*>(exp_table.head), index));
    const Vec scale = from_bits(wrapped_sum(head, k << 45));
    const Vec r2 = r * r;
    const Vec low = fma(r, broadcast(0x1.555555555543cp-3), broadcast(0x1.ffffffffffdbdp-2));
    const Vec high = fma(r, broadcast(0x1.1111167a4d017p-7), broadcast(0x1.55555cf172b91p-5));
    const Vec first = fma(r2, low, r + gather(exp_table.tail, index));
    return fma(scale, fma(r2 * r2, high, first), scale);
}

MICROGPT_INLINE Vec vector_exp(Vec x) {
    const Bits outside = ~(magnitude(x) < exp_limit);  // also NaN
    Vec result = exp_of_sum(x, Vec{}, false);
    if (__builtin_expect(any(outside), 0))
        for (int i = 0; i < lanes; i++)
            if (outside[i]) result[i] = system_libm.exp(x[i]);
    return result;
}

// pow(x, y) for every x from 2^-1022 (not subnormal) with |y log(x)| below `exp_limit`: all square
// roots, and all squares above 2^-738. Other lanes go through the C library. A y for each lane.
// log(x) = k ln 2 + log(c) + log(1 + r) as high + low, r = x 2^-k / c - 1; then exp(y
// high + y low).
MICROGPT_INLINE Vec vector_pow(Vec x, Vec y) {
    const Bits offset = wrapped_difference(bits_of(x), broadcast_bits(log_start));
    const Bits index = (offset >> 45) & broadcast_bits(127);
    const Bits k = offset >> 52;
    const Vec z = from_bits(wrapped_difference(bits_of(x), k << 52));
    const Vec whole = __builtin_convertvector(k, Vec);
    const Vec r = fma(z, gather(log_table.inverse, index), broadcast(-1.0));
    const Vec t1 = fma(whole, broadcast(0x1.62e42fefa3800p-1), gather(log_table.head, index));
    const Vec t2 = t1 + r;
    const Vec low1 = fma(whole, broadcast(0x1.ef35793c76730p-45), gather(log_table.tail, index));
    const Vec low2 = t1 - t2 + r;
    const Vec half = broadcast(-0.5) * r;
    const Vec half2 = r * half;  // -r^2/2
    const Vec half3 = r * half2;
    const Vec high = t2 + half2;
    const Vec low3 = fma(half, r, -half2);
    const Vec low4 = t2 - high + half2;
    const Vec p12 = fma(r, broadcast(0x1.0000000000006p-1), broadcast(-0x1.5555555555560p-1));
    const Vec p34 = fma(r, broadcast(-0x1.555555529a47ap-1), broadcast(0x1.999999959554ep-1));
    const Vec p56 = fma(r, broadcast(0x1.0002b8b263fc3p+0), broadcast(-0x1.2495b9b4845e9p+0));
    const Vec polynomial = fma(half2, fma(half2, p56, p34), p12);
    const Vec low = fma(half3, polynomial, low1 + low2 + low3 + low4);
    const Vec log_high = high + low;
    const Vec log_low = high - log_high + low;
    const Vec product = y * log_high;
    const Bits outside =
        ~((x >= 0x1p-1022) & (x < __builtin_inf()) & (magnitude(product) < exp_limit));
    Vec result = exp_of_sum(product, fma(y, log_low, fma(y, log_high, -product)), true);
    if (__builtin_expect(any(outside), 0))
        for (int i = 0; i < lanes; i++)
            if (outside[i]) result[i] = system_libm.pow(x[i], y[i]);
    return result;
}

MICROGPT_INLINE Vec vector_pow(Vec x, double y) { return vector_pow(x, broadcast(y)); }

#else
inline Vec vector_exp(Vec x) { return system_exp(x); }
inline Vec vector_pow(Vec x, double exponent) { return system_pow(x, exponent); }
#endif

// ---- What the engine calls ----------------------------------------------------------------------

// One of the two families, chosen when the engine is made.
struct Libm {
    bool vector;
    MICROGPT_INLINE Vec exp(Vec x) const {
        return has_fma && vector ? vector_exp(x) : system_exp(x);
    }
    MICROGPT_INLINE Vec pow(Vec x, double y) const {
        return has_fma && vector ? vector_pow(x, y) : system_pow(x, y);
    }
};

}  // namespace microgpt::exact::MICROGPT_ISA
