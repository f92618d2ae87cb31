// `reference.adam` for all parameters, and the test that decides whether a step is applied at all.
//
// The vector form rests on three facts, so that most parameters need neither pow nor a division by a constant.
// (1) pow(x, 2) and pow(x, 0.5) are the correctly rounded x * x and sqrt(x) unless the true value lies
//     close to the middle between two float64: the relative error of the C library's pow before its last
//     rounding is below 0.006 * 2^-52 (five roundings of numbers below 2^-8.5 make 0.0048, log's error
//     times its size, at most 100, adds 0.001). The few numbers nearer to a middle than `doubt` are
//     listed and get the real pow. `probe` tries it; a test does so on millions.
// (2) x / c for a constant c: with h = 1/c rounded and l = (1/c - h) rounded, q = x * h + x * l is one of the
//     two neighbours of the quotient, r = x - c * q is exact, and q + r * h rounds to the quotient
//     (Markstein 1990, IBM J. Res. Dev. 34, theorem 8.2). Each product and sum there is one FMA.
// (3) (1) and (2) hold far from underflow; numbers below 2^-900 other than 0 go the slow way.
#pragma once

#include "tape.hpp"

namespace microgpt::MICROGPT_ISA {

constexpr double doubt = 0.0065 * 0x1p-52;  // relative
constexpr double tiny = 0x1p-900;

// Is every gradient finite, and its square too? NaN is not.
inline bool all_finite(const double* g, Index count) {
    constexpr double largest = 0x1.fffffffffffffp+511;  // its square is the largest that fits
    Bits good = ~Bits{};
    Index i = 0;
    for (; i + lanes <= count; i += lanes) good &= magnitude(load(g + i)) <= largest;
    bool all = !any(~good);
    for (; i < count; i++) all = all && __builtin_fabs(g[i]) <= largest;
    return all;
}

// A number other than zero, below `tiny` in magnitude: one unsigned comparison, for x without its sign.
MICROGPT_INLINE Bits is_tiny(Vec x) {
    typedef std::uint64_t Unsigned __attribute__((vector_size(8 * MICROGPT_LANES)));
    const Unsigned bits = reinterpret_cast<Unsigned>(bits_of(x));
    return bits - 1 < static_cast<std::uint64_t>(0x07b0000000000000 - 1);
}
static_assert(__builtin_bit_cast(std::int64_t, tiny) == 0x07b0000000000000);

class Adam {
public:
    Adam(const AdamSettings& settings, bool vector_libm) : settings_(settings), vector_(has_fma && vector_libm) {}

    // p, m, v, g: `count` numbers each. step: updates made before this one.
    void update(double* p, double* m, double* v, const double* g, Index count, Index step, double rate,
                Poll& poll) const {
        const double power = static_cast<double>(step + 1);
        const Rates rates{settings_.beta1,
                          1 - settings_.beta1,
                          settings_.beta2,
                          1 - settings_.beta2,
                          1 - system_libm.pow(settings_.beta1, power),
                          1 - system_libm.pow(settings_.beta2, power),
                          rate,
                          settings_.eps};
        Index i = 0;
#if MICROGPT_LANES > 2
        if (vector_)
            for (; i + lanes <= count; i += block) {
                const Index size = (count - i < block ? count - i : block) / lanes * lanes;
                update_block(rates, p + i, m + i, v + i, g + i, size);
                poll.work_uninterrupted(4 * size);
                if (size < block) {
                    i += size;
                    break;
                }
            }
#endif
        for (; i < count; i++) {
            update_one(rates, p[i], m[i], v[i], g[i]);
            poll.work_uninterrupted(100);
        }
    }

private:
    struct Rates {
        double beta1, one_minus_beta1, beta2, one_minus_beta2;
        double m_share, v_share;  // 1 - beta ** (step + 1): how much of the mean is there yet
        double rate, eps;
    };

    // reference.adam's own lines.
    static void update_one(const Rates& r, double& p, double& m, double& v, double g) {
        m = r.beta1 * m + r.one_minus_beta1 * g;
        v = r.beta2 * v + r.one_minus_beta2 * system_libm.pow(g, 2.0);
        p = moved(r, p, m, v);
    }
    static double moved(const Rates& r, double p, double m, double v) {
        const double m_hat = m / r.m_share, v_hat = v / r.v_share;
        return p - r.rate * m_hat / (system_libm.pow(v_hat, 0.5) + r.eps);
    }

#if MICROGPT_LANES > 2
    static constexpr Index block = 64 * lanes;  // parameters treated together; their masks fit one cache line

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

    // Numbers of lanes whose bit is set in masks[0 .. vectors), ascending; the last `lanes` repeat the last.
    struct List {
        std::int64_t index[block + lanes];
        Index count = 0;
        void take(const std::uint8_t* masks, Index vectors) {
            count = 0;
            for (Index i = 0; i < vectors; i += 8) {
                std::uint64_t word = 0;
                std::memcpy(&word, masks + i, static_cast<std::size_t>(vectors - i < 8 ? vectors - i : 8));
                for (; word; word &= word - 1) {
                    const int bit = __builtin_ctzll(word);
                    index[count++] = (i + bit / 8) * lanes + bit % 8;
                }
            }
            for (int k = 0; k < lanes; k++) index[count + k] = count ? index[count - 1] : 0;
        }
    };

    // A parameter whose g * g is not pow(g, 2).
    struct Exception {
        Index i;
        double square, v;  // v: before the update
    };

    static void update_block(const Rates& r, double* p, double* m, double* v, const double* g, Index size) {
        std::uint8_t masks[block / lanes];
        Exception exceptions[block];
        List list;
        double p_before[block];
        doubtful_squares(g, size, masks);
        list.take(masks, size / lanes);
        Index count = 0;
        for (Index k = 0; k < list.count; k += lanes) {
            const Vec x = magnitude(gather(g, load_index(list.index + k)));
            const Vec square = vector_pow(x, 2.0);
            for (unsigned wrong = mask_of(square != x * x); wrong; wrong &= wrong - 1) {
                const int lane = __builtin_ctz(wrong);
                if (k + lane >= list.count) break;
                const Index i = list.index[k + lane];
                exceptions[count++] = {i, square[lane], v[i]};
            }
        }
        const bool any_extreme = update_lanes(r, p, m, v, g, size, p_before, masks);
        for (Index k = 0; k < count; k++) {
            const Exception& e = exceptions[k];
            v[e.i] = r.beta2 * e.v + r.one_minus_beta2 * e.square;
            p[e.i] = moved(r, p_before[e.i], m[e.i], v[e.i]);
        }
        list.take(masks, size / lanes);
        for (Index k = 0; k < list.count; k += lanes) {
            const Vec v_hat = gather(v, load_index(list.index + k)) / r.v_share;
            for (unsigned wrong = mask_of(vector_pow(v_hat, 0.5) != square_root(v_hat)); wrong; wrong &= wrong - 1) {
                const int lane = __builtin_ctz(wrong);
                if (k + lane >= list.count) break;
                const Index i = list.index[k + lane];
                p[i] = moved(r, p_before[i], m[i], v[i]);
            }
        }
        if (__builtin_expect(any_extreme, 0))
            for (Index i = 0; i < size; i++)
                if (!(p[i] == p[i]) || is_extreme(m[i]) || is_extreme(v[i])) p[i] = moved(r, p_before[i], m[i], v[i]);
    }

    static bool is_extreme(double x) { return x != 0 && __builtin_fabs(x) < tiny; }

    MICROGPT_INLINE static Bits load_index(const std::int64_t* from) {
        Bits index;
        std::memcpy(&index, from, sizeof index);
        return index;
    }

    // Where may pow(g, 2) differ from g * g? There a rounding to either side of the doubt differs.
    static void doubtful_squares(const double* g, Index size, std::uint8_t* masks) {
        for (Index i = 0; i < size; i += lanes) {
            const Vec x = load(g + i), square = x * x, margin = square * doubt;
            const Bits open = fma(x, x, margin) != fma(x, x, -margin);
            masks[i / lanes] = static_cast<std::uint8_t>(mask_of(open | is_tiny(square)));
        }
    }

    // The update as if pow(x, 2) were x * x and pow(x, 0.5) were sqrt(x). masks: where the latter is in doubt.
    // Returns whether some m or v is tiny, or some result NaN: fact (2) fails where a quotient overflows.
    static bool update_lanes(const Rates& r, double* p, double* m, double* v, const double* g, Index size,
                             double* p_before, std::uint8_t* masks) {
        const Quotient by_m_share(r.m_share), by_v_share(r.v_share);
        const Bits exponent = broadcast_bits(0x7ff0000000000000);
        Bits extreme{};
        for (Index i = 0; i < size; i += lanes) {
            const Vec gi = load(g + i);
            const Vec mi = r.beta1 * load(m + i) + r.one_minus_beta1 * gi;
            const Vec vi = r.beta2 * load(v + i) + r.one_minus_beta2 * (gi * gi);
            store(m + i, mi);
            store(v + i, vi);
            extreme |= is_tiny(magnitude(mi)) | is_tiny(vi);
            const Vec m_hat = by_m_share.of(mi), v_hat = by_v_share.of(vi);
            const Vec root = square_root(v_hat);
            // The true root is root + rest / (2 root); a middle is half of unit = 2^-52 power of root away.
            const Vec rest = fma(-root, root, v_hat);
            const Vec power = from_bits(bits_of(root) & exponent);
            const Vec limit = root * fma(root, broadcast(-2 * doubt), power * 0x1p-52);
            masks[i / lanes] = static_cast<std::uint8_t>(mask_of(magnitude(rest) > limit));
            const Vec pi = load(p + i), moved = pi - r.rate * m_hat / (root + r.eps);
            store(p_before + i, pi);
            store(p + i, moved);
            extreme |= moved != moved;
        }
        return any(extreme);
    }
#endif

    const AdamSettings settings_;
    const bool vector_;
};

}  // namespace microgpt::MICROGPT_ISA
