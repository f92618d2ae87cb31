// The fast engine's kernels for one instruction set: compiled once for each, with MICROGPT_ISA
// naming its namespace. The flags of CMakeLists.txt are all that differs.
#include "muon.hpp"
#include "pass.hpp"
#include "peak.hpp"
#include "update.hpp"

#define MICROGPT_TEXT(x) #x
#define MICROGPT_TEXT_OF(isa) MICROGPT_TEXT(isa)
#define MICROGPT_JOIN(x, y) x##y
#define MICROGPT_KERNELS(isa) MICROGPT_JOIN(kernels_, isa)

namespace microgpt::fast::MICROGPT_ISA {

inline void log_probabilities(const Model& model, const Rows& rows, const Group& g,
                              Ticker& ticker) {
    output<false>(model, rows, g, ticker);
}

template <int EMBD, int HEAD>
Kernels table() {
    return {MICROGPT_TEXT_OF(MICROGPT_ISA),
            kLanes,
            layer_forward<EMBD, HEAD>,
            log_probabilities,
            output_backward<EMBD>,
            layer_backward<EMBD, HEAD>,
            gradient,
            table_gradient,
            table_products<EMBD>,
            table_products_backward<EMBD>,
            update_matrix,
            update_table,
            muon,
            multiply_add};
}

// Widths known to the compiler where loops are short: 16 and 32. Beyond, only the head's width
// matters.
inline Kernels kernels_for(const Model& m) {
    if (m.embd == 16 && m.attn == 16 && m.hidden == 64 && m.head == 4) return table<16, 4>();
    if (m.embd == 32 && m.attn == 32 && m.hidden == 128 && m.head == 8) return table<32, 8>();
    switch (m.head) {
        case 4:
            return table<0, 4>();
        case 8:
            return table<0, 8>();
        case 16:
            return table<0, 16>();
        case 32:
            return table<0, 32>();
        case 64:
            return table<0, 64>();
        default:
            return table<0, 0>();
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA

namespace microgpt::fast {
Kernels MICROGPT_KERNELS(MICROGPT_ISA)(const Model& model) {
    return MICROGPT_ISA::kernels_for(model);
}
}  // namespace microgpt::fast
