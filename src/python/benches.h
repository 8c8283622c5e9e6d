// SPDX-License-Identifier: Apache-2.0
//
// What the package's own benchmarks (echelon/_src/bench_*.py) share with `echelon bench`: the
// floor, the statistics, and the form of a report. Not public.
#pragma once

#include <nanobind/nanobind.h>

namespace echelon::python {

void bind_benches(nanobind::module_& module);

}  // namespace echelon::python
