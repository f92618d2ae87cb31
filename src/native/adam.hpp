// `reference.adam` for all parameters, and the test that decides whether a step is applied at all.
#pragma once

#include "tape.hpp"

namespace microgpt::MICROGPT_ISA {

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

class Adam {
public:
    Adam(const AdamSettings& settings, bool vector_libm) : settings_(settings), libm_{vector_libm} {}

    // p, m, v, g: `count` numbers each. step: updates made before this one.
    void update(double* p, double* m, double* v, const double* g, Index count, Index step, double rate,
                Poll& poll) const {
        const double power = static_cast<double>(step + 1);
        const double m_share = 1 - system_libm.pow(settings_.beta1, power);
        const double v_share = 1 - system_libm.pow(settings_.beta2, power);
        for (Index i = 0; i < count; i++) {
            m[i] = settings_.beta1 * m[i] + (1 - settings_.beta1) * g[i];
            v[i] = settings_.beta2 * v[i] + (1 - settings_.beta2) * system_libm.pow(g[i], 2.0);
            const double m_hat = m[i] / m_share, v_hat = v[i] / v_share;
            p[i] = p[i] - rate * m_hat / (system_libm.pow(v_hat, 0.5) + settings_.eps);
            poll.work_uninterrupted(100);
        }
    }

private:
    const AdamSettings settings_;
    const Libm libm_;
};

}  // namespace microgpt::MICROGPT_ISA
