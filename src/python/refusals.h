// SPDX-License-Identifier: Apache-2.0
//
// Arguments of a wrong type: in one place, for every function of the module, what nanobind says of
// them ("incompatible function arguments", all signatures, types alone) is replaced by one line
// that names the argument (echelon._src.refusals). Costs a call that succeeds one comparison.
#pragma once

#include <nanobind/nanobind.h>

namespace echelon::python {

/// Of all functions, methods and properties that `module` has by now.
void explain_refusals(nanobind::module_& module);

}  // namespace echelon::python
