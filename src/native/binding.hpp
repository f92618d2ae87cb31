// One function for each engine that hangs its classes into the module.
#pragma once

#include <nanobind/nanobind.h>

namespace microgpt {
void bind_exact(nanobind::module_& m);
void bind_fast(nanobind::module_& m);
}  // namespace microgpt
