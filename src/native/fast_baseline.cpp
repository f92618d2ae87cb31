// The fast engine's kernels for the machine's baseline (SSE2 on x86-64, NEON on arm64).
#define MICROGPT_ISA baseline
#include "fast_isa.hpp"

namespace microgpt::fast {
Kernels kernels_baseline(const Model& model) { return baseline::kernels_for(model, "baseline"); }
}  // namespace microgpt::fast
