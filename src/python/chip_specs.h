// SPDX-License-Identifier: Apache-2.0
//
// ec.ChipSpec, and what else a person gives as chips.
#pragma once

#include <vector>

#include <echelon/worker.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// A number of cpu chips, or a list of "driver:device" and ChipSpec. Raises TypeError, ValueError.
std::vector<ChipSpec> chips_from(nb::handle given);

void bind_chip_spec(nb::module_& module);

}  // namespace echelon::python
