// SPDX-License-Identifier: Apache-2.0
//
// ec.Task and ec.TaskArgs: what a callable sees while it runs. Their arrays see the memory of the
// task's arguments, which may belong to somebody else as soon as it has ended: a task that leaves
// one of them behind fails.
#pragma once

#include <memory>
#include <vector>

#include <echelon/task.h>
#include <nanobind/nanobind.h>

#include "python/arrays.h"
#include "python/tensors.h"

namespace echelon::python {

/// The memory of one argument; the exporter of its arrays.
struct PyArgument {
  MemoryView view;
  int exports = 0;
};

class PyTaskArgs {
 public:
  void begin(TaskArgs& args) { args_ = &args; }
  /// No access from here on.
  void end();
  /// REQUIRES: before end(). The number of arrays that are still alive, of any argument.
  int arrays_alive() const;
  bool gave_arrays() const { return !given_.empty() || lent_ != nullptr; }

  /// Throws WrongState where the task has ended.
  TaskArgs& args() const;
  nb::object array(std::size_t i);
  nb::list arrays();
  nb::tuple scalars() const;
  /// For orchestration functions; arrays of it count as this task's.
  PyTensor handle(std::size_t i);

 private:
  TaskArgs* args_ = nullptr;
  std::vector<nb::object> given_;  // PyArgument
  std::shared_ptr<Exports> lent_;  // of all handles
};

class PyTask : public PyTaskArgs {};

void bind_tasks(nb::module_& module);

}  // namespace echelon::python
