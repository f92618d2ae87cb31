#include "cpu.hpp"

#include <stdexcept>

namespace microgpt {

namespace {

#ifdef MICROGPT_AVX512
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif
#ifdef MICROGPT_AVX2
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

std::vector<std::string> find_instruction_sets() {
    std::vector<std::string> names;
#ifdef MICROGPT_AVX512
    if (has_avx512()) names.emplace_back("avx512");
#endif
#ifdef MICROGPT_AVX2
    if (has_avx2()) names.emplace_back("avx2");
#endif
    names.emplace_back("baseline");
    return names;
}

}  // namespace

const std::vector<std::string>& instruction_sets() {
    static const std::vector<std::string> names = find_instruction_sets();
    return names;
}

std::string choose_instruction_set(const std::string& name) {
    for (const std::string& known : instruction_sets())
        if (name.empty() || name == known) return known;
    throw std::invalid_argument("the instruction set '" + name.substr(0, 40) +
                                "' is unknown or does not run here");
}

}  // namespace microgpt
