// SPDX-License-Identifier: Apache-2.0
#include "python/runs.h"

#include <fmt/format.h>

#include <chrono>

#include "python/failures.h"
#include "python/interpreter.h"
#include "python/orchestrators.h"

namespace echelon::python {
namespace {

using Clock = std::chrono::steady_clock;

int traverse_run(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return nb::inst_ready(self) ? nb::inst_ptr<PyRun>(self)->traverse(visit, arg) : 0;
}

int clear_run(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<PyRun>(self)->clear();
  return 0;
}

PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_run)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear_run)},
                       {0, nullptr}};

[[noreturn]] void raise_object(const nb::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

}  // namespace

void PyRun::call(nb::handle function, Orchestrator& orch) {
  const WithLock lock;
  const OrchestratorLoan lent(orch);
  try {
    value_ = function(lent.object());
  } catch (nb::python_error& error) {
    raised_ = take_exception(error);
    throw_for_cpp(raised_);
  }
}

bool PyRun::abandoned() const {
  if (!raised_.is_valid()) return false;
  return PyErr_GivenExceptionMatches(raised_.ptr(), PyExc_Exception) == 0 || ended_a_wait(raised_);
}

PyRun::PyRun(Worker& worker, nb::handle function, const RunOptions& options) {
  run_ = worker.submit([&](Orchestrator& orch) { call(function, orch); }, options);
  if (abandoned()) run_.cancel();
}

PyRun PyRun::waited_for(Worker& worker, nb::handle function, const RunOptions& options) {
  PyRun run;
  run.run_ = worker.submit_and_wait(
      [&](Orchestrator& orch) {
        run.call(function, orch);
        return kWaitSlice;
      },
      options);
  if (run.abandoned()) run.wait_cancelled();
  return run;
}

bool PyRun::wait_or_cancel(Clock::time_point until) const {
  try {
    return wait_interruptibly(
        [this](Clock::time_point slice_end) { return run_.wait_until(slice_end); }, until);
  } catch (nb::python_error& interrupted) {
    wait_cancelled();
    throw;
  }
}

bool PyRun::wait(Clock::time_point until) const {
  const bool ended = wait_or_cancel(until);
  if (ended && parking_ != nullptr) parking_->sweep();
  if (ended) run_.wait();
  return ended;
}

void PyRun::wait_cancelled() const {
  run_.cancel();
  const WithoutLock without;
  (void)run_.wait_for(kCancelPatience);
}

nb::object PyRun::finish() const {
  if (!run_.done() && !abandoned()) wait_or_cancel(Clock::time_point::max());
  if (raised_.is_valid()) raise_object(raised_);
  run_.wait();
  return value_;
}

nb::object PyRun::result() const {
  wait(Clock::time_point::max());
  return value_;
}

int PyRun::traverse(visitproc visit, void* arg) const {
  Py_VISIT(value_.ptr());
  Py_VISIT(raised_.ptr());
  return 0;
}

void PyRun::clear() {
  value_.reset();
  raised_.reset();
}

void bind_runs(nb::module_& module) {
  nb::class_<PyRun>(module, "Run", nb::type_slots(slots),
                    R"(A run in flight, or ended: what Worker.submit(), copy_to_async() and
copy_from_async() return.

``await run`` works in asyncio and gives result(); cancelling the awaiting task cancels the run.

>>> with ec.Worker(level=3) as host:
...     run = host.submit(lambda orch: orch.path)
...     run.wait(timeout=10), run.result()
(True, 'host0'))")
      .def(
          "wait",
          [](const PyRun& self, nb::handle timeout) { return self.wait(deadline_from(timeout)); },
          nb::arg("timeout") = nb::none(),
          nb::sig("def wait(self, timeout: float | datetime.timedelta | None = None) -> bool"),
          "Returns True when every task has ended, False after `timeout` seconds; raises the run's "
          "first error."
          R"(

>>> host.submit(lambda orch: None).wait(timeout=10)
True)")
      .def(
          "done", [](const PyRun& self) { return self.run().done(); },
          "Never blocks."
          R"(

>>> run = host.submit(lambda orch: None)
>>> run.wait(), run.done()
(True, True))")
      .def(
          "cancel", [](const PyRun& self) { self.run().cancel(); },
          "Queued tasks end at once, running ones are asked to. wait() then raises Cancelled."
          R"(

>>> def endless(task):
...     while not task.cancelled():
...         pass
>>> h = host.register_sub(endless)
>>> run = host.submit(lambda orch: orch.submit(h) and None)
>>> run.cancel()
>>> run.wait()
Traceback (most recent call last):
...
echelon._src.errors.Cancelled: ...)")
      .def("result", &PyRun::result, nb::sig("def result(self) -> typing.Any"),
           "Waits; then what the orchestration function returned."
           R"(

>>> host.submit(lambda orch: orch.path).result()
'host0')")
      .def(
          "__await__",
          [](nb::handle self) {
            return nb::module_::import_("echelon._src.awaiting").attr("await_run")(self);
          },
          nb::sig("def __await__(self) -> typing.Generator[typing.Any, None, typing.Any]"))
      .def("__repr__", [](const PyRun& self) {
        return self.run().done() ? "<Run, ended>" : "<Run, in flight>";
      });
}

}  // namespace echelon::python
