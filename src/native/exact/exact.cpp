// Chooses an instruction set and a libm for the exact engine.
#include "exact.hpp"

#include <cmath>
#include <stdexcept>

#include "../cpu.hpp"

namespace microgpt {

// The compiler must not evaluate these itself: -fno-builtin for this file (CMakeLists.txt).
extern const SystemLibm system_libm{std::exp, std::log, std::pow};

namespace exact {

extern const InstructionSet baseline_set;
extern const InstructionSet avx2_set;
extern const InstructionSet avx512_set;

namespace {

const InstructionSet& set_named(const std::string& isa) {
    const std::string name = choose_instruction_set(isa);
#ifdef MICROGPT_AVX512
    if (name == "avx512") return avx512_set;
#endif
#ifdef MICROGPT_AVX2
    if (name == "avx2") return avx2_set;
#endif
    return baseline_set;
}

}  // namespace

bool vector_libm() {
    static const bool equal = set_named("").probe();
    return equal;
}

std::unique_ptr<Engine> make(const Config& config, const Shape& shape, const State& state,
                             const std::string& isa, const std::string& libm) {
    if (!libm.empty() && libm != "system")
        throw std::invalid_argument("libm must be 'system' or empty");
    const InstructionSet& set = set_named(isa);
    const bool best = &set == &set_named("");
    const bool vector = libm.empty() && (best ? vector_libm() : set.probe());
    return std::unique_ptr<Engine>(set.create(config, shape, state, vector));
}

}  // namespace exact
}  // namespace microgpt
