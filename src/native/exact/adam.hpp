// `reference.adam` for all parameters, and the test that decides whether a step is applied at all.
//
// The vector form rests on three facts, by which most parameters need neither pow nor a division by
// a constant.
//
// (1) pow(x, 2) and pow(x, 0.5) are the correctly rounded x * x and sqrt(x), unless the true value
//     lies close to the middle between two float64. The relative error of the C library's pow
//     before its last rounding is below 0.006 * 2^-52: five roundings of numbers below 2^-8.5 make
//     0.0048, and log's error times its size, at most 100, adds 0.001. The few numbers nearer to a
//     middle than `doubt` are listed and get the real pow. `probe` tries it; a test does so on
//     millions of numbers.
// (2) x / c for a constant c: with h = 1/c rounded and l = (1/c - h) rounded, q = x * h + x * l is
//     one of the two neighbours of the quotient, r = x - c * q is exact, and q + r * h rounds to
//     the quotient (Markstein 1990, IBM J. Res. Dev. 34, theorem 8.2). Each product and sum there
//     is one FMA.
// (3) (1) and (2) hold far from underflow. (2) fails for numbers below 2^-900; what (4) does not
//     cover of them takes the slow way.
//
// The moments of a weight whose gradient stays 0 become tiny, then subnormal, and stay subnormal
// for ever: 3 * 2^-1074 times 0.85 rounds to itself. Two more facts keep such weights cheap.
//
// (4) p - rate * m_hat / (root + eps) is p where |m| is below `tiny` and |p| at least `movable`,
// and
//     root + eps is eps where root is below eps / 2^54. So there m_hat and v_hat need not be right,
//     only small. This needs an eps and a rate of usual size: `Rates::usual`.
// (5) A subnormal x is k * 2^-1074, k a whole number below 2^52. So factor * x is factor * k
// rounded
//     to a whole number, times 2^-1074. One FMA rounds so: its result 2^52 + factor * k has no bits
//     behind the point. It is factor * (2^52 + k) + (1 - factor) * 2^52, and 1 - factor is exact
//     for a factor from 0.5 to 1. So no multiplication meets a subnormal number; many processors
//     take some 150 cycles for one.
#pragma once

#include "tape.hpp"

namespace microgpt::exact::MICROGPT_ISA {

constexpr double doubt = 0.0065 * 0x1p-52;  // relative
constexpr double tiny = 0x1p-900;
constexpr double movable = 0x1p-700;

constexpr std::int64_t exponent_bits = 0x7ff0000000000000, fraction_bits = 0x000fffffffffffff;
constexpr std::int64_t bits_of_2_52 = 0x4330000000000000;

// factor * x for a factor from 0.5 to 1, rest = 1 - factor. By fact (5) where x is subnormal and
// the processor has FMA.
inline double scaled(double factor, double rest, double x) {
    const std::int64_t bits = __builtin_bit_cast(std::int64_t, x);
    if (!has_fma || bits & exponent_bits) return factor * x;
    const double shifted = __builtin_bit_cast(double, (bits & fraction_bits) | bits_of_2_52);
    const double sum = __builtin_fma(factor, shifted, rest * 0x1p52);
    return __builtin_bit_cast(
        double, (__builtin_bit_cast(std::int64_t, sum) & fraction_bits) | (bits & INT64_MIN));
}

// Is |x| below the bound? By the bits: comparing subnormal numbers may take long.
inline bool below(double x, double bound) {
    return (__builtin_bit_cast(std::int64_t, x) & INT64_MAX) <
           __builtin_bit_cast(std::int64_t, bound);
}

#if MICROGPT_LANES > 2
// The same two for lanes.
MICROGPT_INLINE Vec scaled(Vec factor, Vec rest, Vec x) {
    const Bits bits = bits_of(x), fraction = broadcast_bits(fraction_bits);
    const Bits small = ((bits & broadcast_bits(exponent_bits)) == 0) & fraction;
    const Vec shifted = from_bits((bits & fraction) | broadcast_bits(bits_of_2_52));
    const Bits sum = bits_of(fma(factor, shifted, rest * 0x1p52));
    const Vec product = factor * from_bits(bits & ~small);  // of a subnormal x: zero with its sign
    return from_bits(bits_of(product) | (sum & small));
}
MICROGPT_INLINE Bits below(Vec x, double bound) {
    return bits_of(magnitude(x)) < broadcast_bits(__builtin_bit_cast(std::int64_t, bound));
}
MICROGPT_INLINE Vec unless_below(Vec x, double bound) {  // else 0
    return from_bits(bits_of(x) & ~below(x, bound));
}

// Its unsigned order is that of x >= 0, with 0 last: so the least is the `tiny` number other than
// 0, if there is one.
MICROGPT_INLINE Unsigned bits_below(Vec x) { return reinterpret_cast<Unsigned>(bits_of(x)) - 1; }
MICROGPT_INLINE Unsigned lesser(Unsigned x, Unsigned y) { return x < y ? x : y; }

// Fact (1): the lanes where pow(x, 2) may differ from square = x * x. There a rounding to either
// side of the doubt differs. The margin has 2^-960 in it, more than half of the last bit of squares
// below 2^-907, so these are in doubt unless x is 0.
MICROGPT_INLINE unsigned doubtful_squares(Vec x, Vec square) {
    const Vec margin = fma(square, broadcast(doubt), broadcast(0x1p-960));
    return mask_differs(fma(x, x, margin), fma(x, x, -margin)) & mask_differs(x, Vec{});
}

// The lanes where pow(x, 0.5) may differ from root = sqrt(x). The true root is root + rest / (2
// root); a middle is half of 2^-52 power away, power being the power of two in root.
MICROGPT_INLINE unsigned doubtful_roots(Vec x, Vec root) {
    const Vec rest = fma(-root, root, x);
    const Vec power = from_bits(bits_of(root) & broadcast_bits(0x7ff0000000000000));
    const Vec limit = root * fma(root, broadcast(-2 * doubt), power * 0x1p-52);
    return mask_greater(magnitude(rest), limit);
}
#endif

// Is every gradient finite, and its square too? NaN is not.
inline bool all_finite(const double* g, Index count) {
    Vec sums[4] = {};
    Index i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes)
        for (int k = 0; k < 4; k++) {
            const Vec x = load(g + i + k * lanes);
            sums[k] = sums[k] + x * x;
        }
    const Vec sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);  // not finite if one of them is not
    bool finite = !any(sum - sum != 0.0);
    if (!finite) i = 0, finite = true;  // or their sum alone is not: look at each
    for (; i < count; i++) finite = finite && __builtin_fabs(g[i]) <= 0x1.fffffffffffffp+511;
    return finite;
}

class Adam {
public:
    // count: of the model's parameters.
    Adam(const Config& config, Index count, bool vector_libm)
        : beta1_(config.beta1),
          beta2_(config.beta2),
          eps_(config.eps_adam),
          count_(count),
          vector_(has_fma && vector_libm),
          care_(count / (256 * lanes) + 1) {}

    // p, m, v, g: all parameters' numbers. step: updates made before this one.
    void update(double* p, double* m, double* v, const double* g, Index step, double rate,
                Stop& stop) {
        const Rates rates = rates_for(step, rate);
        const Index count = count_;
        Index i = 0;
#if MICROGPT_LANES > 2
        if (vector_)
            for (; i + lanes <= count; i += block) {
                const Index size = (count - i < block ? count - i : block) / lanes * lanes;
                std::uint8_t& care = care_[i / block];
                if (care == unknown || step % 32 == 0) care = care_for(m + i, v + i, size);
                update_block(rates.usual ? int{care} : careful, rates, p + i, m + i, v + i, g + i,
                             size);
                stop.work_uninterrupted(4 * size);
                if (size < block) {
                    i += size;
                    break;
                }
            }
#endif
        for (; i < count; i++) {
            update_one(rates, p[i], m[i], v[i], g[i]);
            stop.work_uninterrupted(100);
        }
    }

private:
    struct Rates {
        double beta1, one_minus_beta1, beta2, one_minus_beta2;
        double m_share, v_share;  // 1 - beta ** (step + 1): how much of the mean is there yet
        double rate, eps;
        bool usual;           // fact (4) holds
        double negligible_v;  // below it root + eps is eps; 0 where fact (4) does not hold
    };

    Rates rates_for(Index step, double rate) const {
        const double power = static_cast<double>(step + 1);
        Rates r{beta1_,
                1 - beta1_,
                beta2_,
                1 - beta2_,
                1 - system_libm.pow(beta1_, power),
                1 - system_libm.pow(beta2_, power),
                rate,
                eps_,
                false,
                0};
        r.usual = beta1_ >= 0.5 && beta1_ <= 1 && beta2_ >= 0.5 && beta2_ <= 1 &&
                  eps_ >= 0x1p-300 && eps_ <= 1 && r.m_share >= 0x1p-53 && r.v_share >= 0x1p-53 &&
                  __builtin_fabs(rate) <= 0x1p100 * r.m_share * eps_;
        // Its root is below 2^-55 eps, with room for the roundings of v_hat and root.
        if (r.usual) r.negligible_v = eps_ * eps_ * 0x1p-112 * r.v_share;
        return r;
    }

    // reference.adam's own lines.
    static void update_one(const Rates& r, double& p, double& m, double& v, double g) {
        const double square = g == 0 ? 0.0 : system_libm.pow(g, 2.0);
        m = (r.usual ? scaled(r.beta1, r.one_minus_beta1, m) : r.beta1 * m) + r.one_minus_beta1 * g;
        v = (r.usual ? scaled(r.beta2, r.one_minus_beta2, v) : r.beta2 * v) +
            r.one_minus_beta2 * square;
        if (r.usual && below(m, tiny) && !below(p, movable) && v >= 0) return;
        p = moved(r, p, m, root_of(r, v));
    }
    // v_hat ** 0.5, or 0 where root + eps is eps.
    static double root_of(const Rates& r, double v) {
        return v >= 0 && v < r.negligible_v ? 0.0 : system_libm.pow(v / r.v_share, 0.5);
    }
    static double moved(const Rates& r, double p, double m, double root) {
        const double m_hat = m / r.m_share;
        return p - r.rate * m_hat / (root + r.eps);
    }

#if MICROGPT_LANES > 2
    // How a block is updated: with no precaution against subnormal numbers, with some for m or for
    // both m and v, or without fact (4).
    enum Care : std::uint8_t { unknown, plain, with_tiny_m, with_tiny_v, careful };

    static constexpr Index block =
        256 * lanes;  // parameters treated together; what is kept of them stays in L1

    // Fact (2).
    struct Quotient {
        Vec c, high, low;
        explicit Quotient(double divisor) {
            const double h = 1 / divisor;
            c = broadcast(divisor), high = broadcast(h);
            low = fma(-c, high, broadcast(1.0)) / c;
        }
        MICROGPT_INLINE Vec of(Vec x) const {
            const Vec q = fma(x, high, x * low);
            return fma(fma(-c, q, x), high, q);
        }
    };

    // What must be remembered of a block until its doubts are settled.
    struct Block {
        double p_before[block], v_before[block];
        std::uint8_t square_doubts[block / lanes] = {},
                                           root_doubts[block / lanes] = {};  // a bit a lane
        bool untrusted;  // some lane must be done again: tiny moments without fact (4), or p has
                         // become NaN, since fact (2) fails where a quotient overflows
    };

    // The parameters whose bit is set in a block's masks, ascending; filled up with 0 to whole
    // vectors.
    struct Doubts {
        std::int64_t index[block + 8];
        Index count = 0;
        explicit Doubts(const std::uint8_t (&masks)[block / lanes]) {
            for (Index i = 0; i < block / lanes; i += 8) {
                std::uint64_t word;  // eight vectors' bits, a byte each
                std::memcpy(&word, masks + i, 8);
                const Index in_word = __builtin_popcountll(word);
                std::int64_t* next = index + count;
                for (int k = 0; k < 4; k++)
                    next[k] = take_lowest(word, i);  // seldom more; a loop's end is seldom foreseen
                for (Index k = 4; k < in_word; k++) next[k] = take_lowest(word, i);
                count += in_word;
            }
            for (int k = 0; k < lanes; k++) index[count + k] = 0;
        }
        static std::int64_t take_lowest(std::uint64_t& word, Index vector) {
            const int bit = __builtin_ctzll(word | 1ULL << 63);
            word &= word - 1;
            return (vector + bit / 8) * lanes + bit % 8;
        }
        MICROGPT_INLINE Bits load_at(Index k) const {
            Bits indices;
            std::memcpy(&indices, index + k, sizeof indices);
            return indices;
        }
    };

    static void update_block(int care, const Rates& r, double* p, double* m, double* v,
                             const double* g, Index size) {
        Block b;
        switch (care) {
            case with_tiny_v:
                update_lanes<with_tiny_v>(r, p, m, v, g, size, b);
                break;
            case with_tiny_m:
                update_lanes<with_tiny_m>(r, p, m, v, g, size, b);
                break;
            case plain:
                update_lanes<plain>(r, p, m, v, g, size, b);
                break;
            default:
                update_lanes<careful>(r, p, m, v, g, size, b);
        }
        const auto settle = [&](const Doubts& doubts, auto powers_of, auto correct) {
            for (Index k = 0; k < doubts.count; k += lanes) {
                Vec assumed;
                const Vec power = powers_of(doubts.load_at(k), assumed);
                for (unsigned wrong = mask_differs(power, assumed); wrong; wrong &= wrong - 1) {
                    const int lane = __builtin_ctz(wrong);
                    if (k + lane < doubts.count) correct(doubts.index[k + lane], power[lane]);
                }
            }
        };
        const auto squares = [&](Bits index, Vec& assumed) {
            const Vec x = magnitude(gather(g, index));
            assumed = x * x;
            return vector_pow(x, 2.0);
        };
        settle(Doubts(b.square_doubts), squares, [&](Index i, double square) {
            v[i] = r.beta2 * b.v_before[i] + r.one_minus_beta2 * square;
            p[i] = moved(r, b.p_before[i], m[i], root_of(r, v[i]));
        });
        const auto roots = [&](Bits index, Vec& assumed) {
            const Vec v_hat = gather(v, index) / r.v_share;
            assumed = square_root(v_hat);
            return vector_pow(v_hat, 0.5);
        };
        settle(Doubts(b.root_doubts), roots,
               [&](Index i, double root) { p[i] = moved(r, b.p_before[i], m[i], root); });
        if (__builtin_expect(b.untrusted, 0))
            for (Index i = 0; i < size; i++)
                if (p[i] != p[i] || (care == careful ? is_tiny(m[i]) || is_tiny(v[i])
                                                     : below(b.p_before[i], movable) && m[i] != 0))
                    p[i] = moved(r, b.p_before[i], m[i], root_of(r, v[i]));
    }

    static Care care_for(const double* m, const double* v, Index size) {
        Bits tiny_m{}, tiny_v{};
        for (Index i = 0; i < size; i += lanes) {
            const Vec mi = load(m + i), vi = load(v + i);
            tiny_m = tiny_m | (below(mi, tiny) & (bits_of(mi) != 0));
            tiny_v = tiny_v | (below(vi, tiny) & (bits_of(vi) != 0));
        }
        return any(tiny_v) ? with_tiny_v : any(tiny_m) ? with_tiny_m : plain;
    }

    static bool is_tiny(double x) { return x != 0 && __builtin_fabs(x) < tiny; }

    // The update as if pow(x, 2) were x * x and pow(x, 0.5) were sqrt(x). A loop of two stages, the
    // second one vector behind the first, since square root and quotient take long.
    template <Care care>
    static void update_lanes(const Rates& r, double* p, double* m, double* v, const double* g,
                             Index size, Block& b) {
        constexpr bool tiny_v = care == with_tiny_v, tiny_m = tiny_v || care == with_tiny_m;
        const Quotient by_m_share(r.m_share), by_v_share(r.v_share);
        const Vec beta1 = broadcast(r.beta1), beta2 = broadcast(r.beta2), rate = broadcast(r.rate);
        const Vec rest1 = broadcast(r.one_minus_beta1), rest2 = broadcast(r.one_minus_beta2),
                  eps = broadcast(r.eps);
        Unsigned smallest = ~Unsigned{};
        Vec not_a_number{}, smallest_p = broadcast(1.0);
        struct Hats {
            Vec m, v;
        };
        const auto means = [&](Index i) __attribute__((always_inline)) {
            const Vec x = load(g + i), square = x * x, before = load(v + i);
            b.square_doubts[i / lanes] = static_cast<std::uint8_t>(doubtful_squares(x, square));
            store(b.v_before + i, before);
            const Vec mi =
                (tiny_m ? scaled(beta1, rest1, load(m + i)) : beta1 * load(m + i)) + rest1 * x;
            const Vec vi =
                (tiny_v ? scaled(beta2, rest2, before) : beta2 * before) + rest2 * square;
            store(m + i, mi);
            store(v + i, vi);
            if (care == careful)
                smallest = lesser(smallest, lesser(bits_below(magnitude(mi)), bits_below(vi)));
            return Hats{by_m_share.of(tiny_m ? unless_below(mi, tiny) : mi),
                        by_v_share.of(tiny_v ? unless_below(vi, r.negligible_v) : vi)};
        };
        const auto move = [&](Index i, const Hats& hats, Vec root) __attribute__((always_inline)) {
            b.root_doubts[i / lanes] = static_cast<std::uint8_t>(doubtful_roots(hats.v, root));
            const Vec before = load(p + i), after = before - rate * hats.m / (root + eps);
            if (care != careful) {
                const Vec size_of_p = magnitude(before);
                smallest_p = smallest_p < size_of_p ? smallest_p : size_of_p;
            }
            store(b.p_before + i, before);
            store(p + i, after);
            not_a_number = fma(after, Vec{}, not_a_number);
        };
        Hats hats = means(0);
        Vec root = square_root(hats.v);
        for (Index i = lanes; i < size; i += lanes) {
            const Hats next = means(i);
            move(i - lanes, hats, root);
            hats = next, root = square_root(next.v);
        }
        move(size - lanes, hats, root);
        b.untrusted = any(not_a_number != 0.0) ||
                      (care == careful ? mask_less(smallest, bits_below(broadcast(tiny))) != 0
                                       : any(smallest_p < movable));
    }
#endif

    const double beta1_, beta2_, eps_;
    const Index count_;
    const bool vector_;
    Buffer<std::uint8_t> care_;  // what each block needs
};

}  // namespace microgpt::exact::MICROGPT_ISA
