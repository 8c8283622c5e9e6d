// SPDX-License-Identifier: Apache-2.0
//
// Handles of callables, and Python functions as C++ ones.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <echelon/handles.h>
#include <echelon/orchestrator.h>
#include <echelon/task.h>
#include <nanobind/nanobind.h>

#include "python/interpreter.h"

namespace echelon::python {

/// A handle with the name it was registered under, for people.
template <class Handle>
struct Named {
  Handle handle;
  std::string name;
};
using PySubHandle = Named<SubHandle>;
using PyOrchHandle = Named<OrchHandle>;
using PyChipHandle = Named<ChipHandle>;
using PyLibraryHandle = Named<LibraryHandle>;

/// Runs it with an ec.Task; its return value, pickled, is the task's result. Throws echelon::Error
/// for what it raises.
std::function<void(Task&)> as_sub(std::shared_ptr<HeldObject> function);

/// Calls it with as many of (orch, args, config) as it takes. Raises TypeError here, not later,
/// where it takes none or more than three.
std::function<void(Orchestrator&, TaskArgs&)> as_orch(std::shared_ptr<HeldObject> function);

/// How many positional arguments an orchestration function takes: 1 to 3. Raises TypeError.
int orch_arity(nb::handle function);

/// Pickled, for a result; empty for None. Raises what pickle raises.
void set_result(TaskArgs& task, nb::handle value);
/// Who sent a result. Unpickling runs what the sender likes, unless it makes plain data alone.
enum class Trust : bool { kPlainData, kWhole };
/// The reverse of set_result().
nb::object result_object(const std::vector<std::byte>& bytes, Trust trust);

void bind_callables(nb::module_& module);

}  // namespace echelon::python
