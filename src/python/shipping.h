// SPDX-License-Identifier: Apache-2.0
//
// Python callables that reach a running tree: made again, in each child, from what was shipped.
#pragma once

#include <memory>
#include <string>

#include <echelon/embedding.h>
#include <nanobind/nanobind.h>

#include "python/interpreter.h"

namespace echelon::python {

/// Sets load_sub and load_orch.
void add_loaders(embedding::Language& language);

/// For a function that is registered before start(): how it is made again on another host. Pickled
/// when a tree starts that has Workers there; `path` is its import path, or empty.
embedding::Pack packer(std::shared_ptr<HeldObject> function, std::string name, std::string path);

/// _run_session() of the module.
void bind_runner(nb::module_& module);

}  // namespace echelon::python
