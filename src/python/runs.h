// SPDX-License-Identifier: Apache-2.0
//
// ec.Run, and what Worker.run() does.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include <echelon/run.h>
#include <echelon/worker.h>
#include <nanobind/nanobind.h>

#include "python/parked.h"

namespace echelon::python {

namespace nb = nanobind;

/// How long a cancelled run is waited for before Ctrl-C gets through: a task that does not look at
/// cancelled() goes on in its own process.
constexpr std::chrono::seconds kCancelPatience{1};

class PyRun {
 public:
  /// Calls `function(orch)` on this thread, which holds the interpreter's lock. Throws what
  /// Worker::submit() throws; what the function raises is the run's error, and kept.
  PyRun(Worker& worker, nb::handle function, const RunOptions& options);
  /// The same, and finish() as far as that takes no more than a moment: the usual run's end.
  static PyRun waited_for(Worker& worker, nb::handle function, const RunOptions& options);

  /// A copy that was begun: `value` is what result() gives. What it uses lies in `parking`, which
  /// is swept when it has ended.
  PyRun(Run run, nb::object value, std::shared_ptr<Parking> parking)
      : run_(std::move(run)), value_(std::move(value)), parking_(std::move(parking)) {}

  /// False after the timeout. Throws the run's error.
  bool wait(std::chrono::steady_clock::time_point until) const;
  /// Waits to the end. On Ctrl-C, and where the function was ended by it, cancels and waits for a
  /// moment more. Throws the function's own exception as it was raised, otherwise the run's error.
  nb::object finish() const;
  /// Waits; then what the function returned.
  nb::object result() const;
  const Run& run() const { return run_; }

  /// For the interpreter's collector: an exception's frames may hold the Run.
  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  PyRun() = default;
  /// Calls the function; keeps what it returns, and throws for C++ what it raises.
  void call(nb::handle function, Orchestrator& orch);
  /// Nobody is going to use what is in flight: KeyboardInterrupt, SystemExit, or what any other
  /// signal's handler raised while the function waited.
  bool abandoned() const;
  void wait_cancelled() const;
  /// False: `until` has passed. On Ctrl-C: wait_cancelled(), and what it raised.
  bool wait_or_cancel(std::chrono::steady_clock::time_point until) const;

  Run run_;
  nb::object value_;
  std::shared_ptr<Parking> parking_;  // of copies alone
  nb::object raised_;                 // by the function itself
};

void bind_runs(nb::module_& module);

}  // namespace echelon::python
