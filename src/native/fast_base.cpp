// The fast engine's kernels for the machine's baseline (SSE2 on x86-64, NEON on arm64).
#define MICROGPT_ISA base
#include "fast_isa.hpp"

namespace microgpt::fast {
Kernels kernels_base(const Model& model) { return base::kernels_for(model, "base"); }
}  // namespace microgpt::fast
