// Compares the vector forms of exp and pow with the C library, on random numbers; the argument says
// how many. Also compares Adam's rule for where x * x and sqrt(x) replace pow. Prints a line for a
// difference, and exits 1.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "exact/adam.hpp"
#include "exact/probe.hpp"

namespace microgpt {
extern const SystemLibm system_libm{std::exp, std::log, std::pow};
}

using namespace microgpt;
using namespace microgpt::exact::MICROGPT_ISA;

int main(int, char** arguments) {
    const long rounds = std::atol(arguments[1]) / lanes;
    SplitMix random;
    long doubtful = 0;
    for (long n = 0; n < rounds; n++) {
        Vec shifted, x;
        for (int i = 0; i < lanes; i++) {
            shifted[i] = n % 4 ? random.within(-40, 0) : random.within(-512, 512);
            // Near a middle of two roots every other time: squares of numbers with 54 bits.
            const double root = 1 + static_cast<double>(random.next() >> 12) * 0x1p-52;
            const double square = n % 2 ? std::fma(root, root, root * 0x1p-53)
                                        : root * std::exp2(n % 4 ? random.within(-60, 40)
                                                                 : random.within(-899, 1020));
            x[i] = square;
        }
        if (!same(vector_exp(shifted), system_exp(shifted))) return std::puts("exp differs"), 1;
        for (const double power : {2.0, 0.5, -0.5, -1.0, -1.5, -2.0})
            if (!same(vector_pow(x, power), system_pow(x, power)))
                return std::printf("pow(x, %g) differs\n", power), 1;
        const Vec square = x * x, root = square_root(x);
        const unsigned square_doubts = doubtful_squares(x, square),
                       root_doubts = doubtful_roots(x, root);
        doubtful += __builtin_popcount(square_doubts) + __builtin_popcount(root_doubts);
        if (mask_differs(square, system_pow(x, 2.0)) & ~square_doubts)
            return std::puts("a square was trusted wrongly"), 1;
        if (mask_differs(root, system_pow(x, 0.5)) & ~root_doubts)
            return std::puts("a root was trusted wrongly"), 1;
    }
    std::printf("%.4f of squares and roots in doubt\n",
                static_cast<double>(doubtful) / static_cast<double>(2 * rounds * lanes));
    return 0;
}
