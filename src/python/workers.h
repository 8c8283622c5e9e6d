// SPDX-License-Identifier: Apache-2.0
//
// ec.Worker, ec.NodeInfo and ec.ChipImage.
#pragma once

#include <nanobind/nanobind.h>

namespace echelon::python {

void bind_node_info(nanobind::module_& module);
void bind_chip_image(nanobind::module_& module);
void bind_workers(nanobind::module_& module);

}  // namespace echelon::python
