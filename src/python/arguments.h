// SPDX-License-Identifier: Apache-2.0
//
// ec.Args, ec.CallConfig, and scalars.
#pragma once

#include <cstdint>

#include <echelon/args.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// A scalar as a Python number: bool, int or float.
nb::object scalar_object(DType dtype, std::uint64_t bits);

void bind_arguments(nb::module_& module);

}  // namespace echelon::python
