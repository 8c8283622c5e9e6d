// SPDX-License-Identifier: Apache-2.0
//
// Python callables that reach a running tree: made again, in each child, from what was shipped.
#pragma once

#include <echelon/embedding.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

/// Sets load_sub and load_orch.
void add_loaders(embedding::Language& language);

}  // namespace echelon::python
