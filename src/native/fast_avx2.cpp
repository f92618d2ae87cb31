// The fast engine's kernels for AVX2 and FMA: compile with -mavx2 -mfma.
#define MICROGPT_ISA avx2
#include "fast_isa.hpp"

namespace microgpt::fast {
Kernels kernels_avx2(const Model& model) { return avx2::kernels_for(model, "avx2"); }
}  // namespace microgpt::fast
