// The extension module microgpt._native: gathers what the engines' bindings offer.
#include "binding.hpp"

NB_MODULE(_native, m) {
    m.doc() = "The compiled engines of microgpt, as Python sees them.";
    microgpt::bind_exact(m);
    microgpt::bind_fast(m);
}
