// The core's own peak, in the kernels' instructions: products and sums in registers alone, as a
// yardstick.
#pragma once

#include "vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// x = x a + b, `rounds` times in each of kChains registers: enough to hide the latency of the
// instruction (4 to 5 cycles, 2 to 4 begun in each), few enough to stay in registers beside a, b
// and a product without FMA. The numbers go towards b / (1 - a) and never become subnormal. a and b
// are unknown to the compiler and the sum is returned, so that nothing is computed beforehand or
// left out: with a = 0.999 and b = 0.001 it knew that a chain stays at 1.
double multiply_add(long rounds, double& operations) {
#if defined(__AVX512F__) || defined(__aarch64__)
    constexpr int kChains = 24;  // of 32 registers
#else
    constexpr int kChains = 12;  // of 16
#endif
    volatile float factor = 0.75f, summand = 0.5f;
    Vector x[kChains], a = broadcast<kLanes>(factor), b = broadcast<kLanes>(summand);
#pragma GCC unroll 24
    for (int i = 0; i < kChains; i++) x[i] = broadcast<kLanes>(float(i));
    for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 24
        for (int i = 0; i < kChains; i++) x[i] = x[i] * a + b;
    }
    Vector total = {};
#pragma GCC unroll 24
    for (int i = 0; i < kChains; i++) total += x[i];
    operations = 2.0 * kLanes * kChains * double(rounds);
    return double(sum<kLanes>(total));
}

}  // namespace microgpt::fast::MICROGPT_ISA
