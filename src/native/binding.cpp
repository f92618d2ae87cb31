// The module microgpt._native: each engine's binding adds its class.
#include "binding.hpp"

NB_MODULE(_native, m) {
    m.doc() = "The compiled engines of microgpt, as Python sees them.";
    // An engine that a thread or a module global still holds when the interpreter ends is no leak.
    nanobind::set_leak_warnings(false);
    microgpt::bind_exact(m);
#ifdef MICROGPT_FAST
    microgpt::bind_fast(m);
#endif
}
