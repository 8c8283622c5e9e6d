// SPDX-License-Identifier: Apache-2.0
//
// ec.Orchestrator, ec.TaskHandle and ec.Scope.
#pragma once

#include <chrono>

#include <echelon/orchestrator.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// Nothing of it works once its function has returned.
struct PyOrchestrator {
  /// Throws WrongState.
  Orchestrator& get() const;
  Orchestrator* orch = nullptr;
};

/// An ec.Orchestrator for the time of a call.
class OrchestratorLoan {
 public:
  explicit OrchestratorLoan(Orchestrator& orch) : object_(nb::cast(PyOrchestrator{&orch})) {}
  ~OrchestratorLoan() { nb::inst_ptr<PyOrchestrator>(object_)->orch = nullptr; }
  OrchestratorLoan(const OrchestratorLoan&) = delete;
  OrchestratorLoan& operator=(const OrchestratorLoan&) = delete;
  const nb::object& object() const { return object_; }

 private:
  nb::object object_;
};

/// Seconds, or a datetime.timedelta; None: zero. `what` names it in errors. Raises TypeError.
std::chrono::nanoseconds duration_from(nb::handle given, const char* what);
/// The same, cut to milliseconds.
std::chrono::milliseconds milliseconds_from(nb::handle given, const char* what);
/// The same for what calls a deadline: 0 for None alone. Raises InvalidArgument for 0 and less.
std::chrono::nanoseconds deadline_option(nb::handle given);
/// The moment that a timeout ends at; None: never.
std::chrono::steady_clock::time_point deadline_from(nb::handle timeout);

void bind_orchestrators(nb::module_& module);

}  // namespace echelon::python
