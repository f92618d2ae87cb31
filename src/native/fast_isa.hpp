// The kernels of one instruction set, MICROGPT_ISA, as a table of functions. Included once by each
// of fast_baseline.cpp, fast_avx2.cpp and fast_avx512.cpp, which differ in their compiler flags
// alone.
#pragma once

#include "fast_muon.hpp"
#include "fast_pass.hpp"
#include "fast_peak.hpp"
#include "fast_update.hpp"

namespace microgpt::fast::MICROGPT_ISA {

inline void log_probabilities(const Model& model, const Rows& rows, const Group& g,
                              Ticker& ticker) {
    output<false>(model, rows, g, ticker);
}

template <int EMBD, int HEAD>
Kernels table(const char* name) {
    return {name,
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
inline Kernels kernels_for(const Model& m, const char* name) {
    if (m.embd == 16 && m.attn == 16 && m.hidden == 64 && m.head == 4) return table<16, 4>(name);
    if (m.embd == 32 && m.attn == 32 && m.hidden == 128 && m.head == 8) return table<32, 8>(name);
    switch (m.head) {
        case 4:
            return table<0, 4>(name);
        case 8:
            return table<0, 8>(name);
        case 16:
            return table<0, 16>(name);
        case 32:
            return table<0, 32>(name);
        case 64:
            return table<0, 64>(name);
        default:
            return table<0, 0>(name);
    }
}

}  // namespace microgpt::fast::MICROGPT_ISA
