// Whether the vector forms of exp and pow equal the C library's functions of this process. Asked
// once a process.
#pragma once

#include "libm.hpp"

namespace microgpt::exact::MICROGPT_ISA {

// Evenly random 64-bit numbers (Steele, Lea and Flood 2014, SplitMix); the same at every import.
class SplitMix {
public:
    std::uint64_t next() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    double within(double low, double high) {
        return low + (high - low) * (static_cast<double>(next() >> 11) * 0x1p-53);
    }

private:
    std::uint64_t state_ = 0;
};

inline bool same(Vec x, Vec y) { return !any(bits_of(x) != bits_of(y)); }

inline bool probe() {
    if (!has_fma) return false;
    constexpr double powers[] = {2.0, 0.5, -0.5, -1.0, -1.5, -2.0};
    constexpr double edges[] = {0.0,
                                -0x1p-60,
                                -0x1p-1074,
                                -1.0,
                                -708.0,
                                -745.2,
                                -511.9,
                                -512.1,
                                1.0,
                                512.0,
                                1e-5,
                                1e300,
                                0x1p-1022,
                                0x0.fffffffffffffp-1022,
                                0x1p-369,
                                0x1p-370,
                                0x1p369,
                                0x1.fffffffffffffp1023,
                                0x1.fffffffffffffp-1,
                                0x1.0000000000001p0,
                                0x1.6955500000000p-1,
                                2.0};
    constexpr int edge_count = sizeof edges / sizeof edges[0];
    SplitMix random;
    for (int n = 0; n < 500; n++) {
        Vec shifted, number;
        for (int i = 0; i < lanes; i++) {
            const bool edge = n * lanes + i < edge_count;
            // Mostly what is common; every fourth from all that occurs.
            const double lowest = n % 4 == 0 ? -512.0 : n % 2 ? -2.0 : -40.0;
            shifted[i] = edge ? edges[n * lanes + i] : random.within(lowest, 0.0);
            const std::uint64_t exponents = n % 4 ? 40 : 2044;
            const std::uint64_t exponent = 1023 - exponents / 2 + random.next() % exponents;
            const std::uint64_t bits = exponent << 52 | random.next() >> 12;
            number[i] = edge ? magnitude(shifted)[i] : __builtin_bit_cast(double, bits);
        }
        if (!same(vector_exp(shifted), system_exp(shifted))) return false;
        for (const double power : powers)
            if (!same(vector_pow(number, power), system_pow(number, power))) return false;
    }
    return true;
}

}  // namespace microgpt::exact::MICROGPT_ISA
