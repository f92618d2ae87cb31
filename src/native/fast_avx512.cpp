// The fast engine's kernels for AVX-512: compile with -mavx512f -mavx512dq -mavx512vl -mavx512bw
// -mfma.
#define MICROGPT_ISA avx512
#include "fast_isa.hpp"

namespace microgpt::fast {
Kernels kernels_avx512(const Model& model) { return avx512::kernels_for(model, "avx512"); }
}  // namespace microgpt::fast
