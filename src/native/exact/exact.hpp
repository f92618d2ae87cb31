// The exact engine's front: how one is made, and what an instruction set must provide.
#pragma once

#include <memory>
#include <string>

#include "../engine.hpp"

namespace microgpt {

// exp, log and pow of the C library that this process runs.
struct SystemLibm {
    double (*exp)(double);
    double (*log)(double);
    double (*pow)(double, double);
};
extern const SystemLibm system_libm;

namespace exact {

// One instruction set's implementation (isa.cpp).
struct InstructionSet {
    const char* name;
    // Do the vector forms of exp, pow, x * x and sqrt(x) equal the C library's, on some thousand
    // values?
    bool (*probe)();
    Engine* (*create)(const Config&, const Shape&, const State&, bool vector_libm);
};

// isa: a name, or "" for the best. libm: "system" for the C library's functions alone, or "" for
// the vector forms where they are equal. Throws std::invalid_argument for any other.
std::unique_ptr<Engine> make(const Config& config, const Shape& shape, const State& state,
                             const std::string& isa, const std::string& libm);

// Whether the best instruction set's vector forms equal the C library.
bool vector_libm();

}  // namespace exact
}  // namespace microgpt
