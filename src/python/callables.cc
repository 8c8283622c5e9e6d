// SPDX-License-Identifier: Apache-2.0
#include "python/callables.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>

#include "python/failures.h"
#include "python/orchestrators.h"
#include "python/tasks.h"

namespace echelon::python {
namespace {

/// The one ec.Task of this process, used for one task after the other while nobody keeps it.
/// Guarded by the interpreter's lock, and callables never nest: tasks run one after the other.
PyObject* spare_task = nullptr;

PyObject* take_task() {
  if (spare_task != nullptr) return std::exchange(spare_task, nullptr);
  return nb::cast(PyTask()).release().ptr();
}

/// Somebody who kept the object finds it ended, and the next task gets another.
void give_back_task(PyObject* task) {
  nb::inst_ptr<PyTask>(task)->end();
  if (Py_REFCNT(task) == 1 && spare_task == nullptr) {
    spare_task = task;
  } else {
    Py_DECREF(task);
  }
}

struct TaskLoan {
  explicit TaskLoan(TaskArgs& args) : object(take_task()) { (*this)->begin(args); }
  ~TaskLoan() { give_back_task(object); }
  TaskLoan(const TaskLoan&) = delete;
  TaskLoan& operator=(const TaskLoan&) = delete;
  PyTask* operator->() const { return nb::inst_ptr<PyTask>(object); }
  PyObject* const object;
};

/// The arrays' memory is about to be somebody else's. What a cycle alone keeps is let go of first;
/// whoever still has one is cut off. The number of arrays that this was done to.
int take_arrays_away(const PyTaskArgs& args) noexcept {
  if (!args.gave_arrays() || args.arrays_alive() == 0) return 0;
  try {
    nb::module_::import_("gc").attr("collect")();
    const int alive = args.arrays_alive();
    if (alive != 0) args.args().cut_off_tensors();
    return alive;
  } catch (const std::exception& error) {
    // The next task would find its memory changed behind its back.
    std::fputs("echelon: arrays of a task that has ended are kept, and cannot be cut off: ",
               stderr);
    std::fputs(error.what(), stderr);
    std::abort();
  }
}

std::string kept_arrays_text(int kept) {
  return fmt::format(
      "the task has ended and {} array(s) of its arguments are still kept; their memory is valid "
      "only while it runs, and they see zeros from now on: keep a copy, x.copy()",
      kept);
}

/// Calls `function`, which drops what it raises in Python before it throws; then nobody has arrays
/// of `args` any more. Throws for C++ what it throws, or that arrays were kept.
template <class Function>
void with_arrays_of(const PyTaskArgs& args, Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    const int kept = take_arrays_away(args);
    if (kept == 0) throw;
    ErrorInfo info = error.info();
    info.message += "; besides, " + kept_arrays_text(kept);
    throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
  } catch (...) {
    take_arrays_away(args);
    throw;
  }
  if (const int kept = take_arrays_away(args); kept != 0) throw_wrong_state(kept_arrays_text(kept));
}

const nb::object& pickle_function(const char* name) {
  static const nb::object* const dumps =
      std::make_unique<nb::object>(nb::module_::import_("pickle").attr("dumps")).release();
  static const nb::object* const loads =
      std::make_unique<nb::object>(nb::module_::import_("pickle").attr("loads")).release();
  return name[0] == 'd' ? *dumps : *loads;
}

constexpr int kPickleProtocol = 5;

/// Certain to be far below the limit: these are pickled the shorter way.
bool is_small(nb::handle value) {
  constexpr Py_ssize_t kSmall = 64 << 10;
  PyObject* const given = value.ptr();
  if (PyBytes_CheckExact(given)) return PyBytes_GET_SIZE(given) <= kSmall;
  if (PyUnicode_CheckExact(given)) return PyUnicode_GET_LENGTH(given) <= kSmall;
  return PyFloat_CheckExact(given) || PyBool_Check(given) != 0;
}

/// Stops where it becomes too large, so that a gigabyte is not pickled to be refused.
nb::object pickled_result(nb::handle value) {
  if (is_small(value)) return pickle_function("dumps")(value, kPickleProtocol);
  static const nb::object* const dumps =
      std::make_unique<nb::object>(nb::module_::import_("echelon._src.bounded").attr("dumps"))
          .release();
  return (*dumps)(value, kResultBytesMax);
}

void run_sub(PyObject* function, Task& task) {
  const TaskLoan loan(task);
  PyObject* arguments[] = {nullptr, loan.object};
  with_arrays_of(*loan.operator->(), [&] {
    try {
      const nb::object result = nb::steal(PyObject_Vectorcall(
          function, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
      if (!result.is_valid()) throw nb::python_error();
      if (!result.is_none()) set_result(task, result);
    } catch (nb::python_error& error) {
      throw_for_cpp(error);
    }
  });
}

/// An orchestration function's arguments, for as long as it runs.
struct ArgsLoan {
  explicit ArgsLoan(TaskArgs& args) : object(nb::cast(PyTaskArgs())) { get().begin(args); }
  ~ArgsLoan() { get().end(); }
  ArgsLoan(const ArgsLoan&) = delete;
  ArgsLoan& operator=(const ArgsLoan&) = delete;
  PyTaskArgs& get() const { return *nb::inst_ptr<PyTaskArgs>(object); }
  const nb::object object;
};

void run_orch(PyObject* function, int arity, Orchestrator& orch, TaskArgs& args) {
  const OrchestratorLoan lent(orch);
  const ArgsLoan loan(args);
  with_arrays_of(loan.get(), [&] {
    try {
      const nb::object config = arity > 2 ? nb::cast(args.config()) : nb::none();
      PyObject* arguments[] = {lent.object().ptr(), loan.object.ptr(), config.ptr()};
      const nb::object result = nb::steal(
          PyObject_Vectorcall(function, arguments, static_cast<std::size_t>(arity), nullptr));
      if (!result.is_valid()) throw nb::python_error();
      set_result(args, result);
    } catch (nb::python_error& error) {
      throw_for_cpp(error);
    }
  });
}

template <class Handle>
void bind_handle(nb::module_& module, const char* name, const char* doc) {
  nb::class_<Named<Handle>>(module, name, doc)
      .def_ro("name", &Named<Handle>::name, "The name under which it was registered.")
      .def(
          "__eq__",
          [](const Named<Handle>& a, const Named<Handle>& b) {
            return a.handle.ref().owner == b.handle.ref().owner &&
                   a.handle.ref().number == b.handle.ref().number &&
                   a.handle.ref().serial == b.handle.ref().serial;
          },
          nb::is_operator(), nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__hash__",
           [](const Named<Handle>& self) {
             return self.handle.ref().owner ^ (std::uint64_t{self.handle.ref().number} << 32U);
           })
      .def(
          "__getstate__",
          [](const Named<Handle>& self) {
            return nb::make_tuple(self.handle.ref().owner, self.handle.ref().number,
                                  self.handle.ref().serial, self.name);
          },
          nb::sig("def __getstate__(self) -> tuple[int, int, int, str]"))
      .def(
          "__setstate__",
          [](Named<Handle>& self, const nb::tuple& state) {
            const detail::CallableRef ref{nb::cast<std::uint64_t>(state[0]),
                                          nb::cast<std::uint32_t>(state[1]),
                                          nb::cast<std::uint64_t>(state[2])};
            new (&self) Named<Handle>{Handle(ref), nb::cast<std::string>(state[3])};
          },
          nb::sig("def __setstate__(self, state: tuple[int, int, int, str]) -> None"))
      .def("__repr__",
           [name](const Named<Handle>& self) { return fmt::format("<{} {}>", name, self.name); });
}

}  // namespace

void set_result(TaskArgs& task, nb::handle value) {
  if (value.is_none()) return;
  nb::object bytes;
  try {
    bytes = pickled_result(value);
  } catch (nb::python_error& error) {
    nb::raise_from(error, PyExc_TypeError, "what the function returned cannot be pickled");
  }
  if (bytes.is_none()) {
    throw_invalid(
        fmt::format("a result of more than {} bytes; at most {} are possible, larger data belongs "
                    "in a tensor",
                    kResultBytesMax, kResultBytesMax));
  }
  task.set_result_bytes(std::as_bytes(std::span(
      PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr())))));
}

nb::object result_object(const std::vector<std::byte>& bytes, Trust trust) {
  if (bytes.empty()) return nb::none();
  const nb::bytes pickled(bytes.data(), bytes.size());
  try {
    if (trust == Trust::kWhole) return pickle_function("loads")(pickled);
    return nb::module_::import_("echelon._src.plain").attr("loads")(pickled);
  } catch (nb::python_error& error) {
    raise_unreadable(error);
  }
}

int orch_arity(nb::handle function) {
  return nb::cast<int>(
      nb::module_::import_("echelon._src.signatures").attr("orch_arity")(function));
}

std::function<void(Task&)> as_sub(std::shared_ptr<HeldObject> function) {
  return [function = std::move(function)](Task& task) {
    const WithLock lock;
    run_sub(function->get(), task);
  };
}

std::function<void(Orchestrator&, TaskArgs&)> as_orch(std::shared_ptr<HeldObject> function) {
  const int arity = orch_arity(function->get());
  return [function = std::move(function), arity](Orchestrator& orch, TaskArgs& args) {
    const WithLock lock;
    run_orch(function->get(), arity, orch, args);
  };
}

void bind_callables(nb::module_& module) {
  bind_handle<SubHandle>(module, "SubHandle",
                         "A registered sub function; valid in the whole subtree of its Worker.");
  bind_handle<OrchHandle>(
      module, "OrchHandle",
      "A registered orchestration function; valid in the whole subtree of its Worker.");
  bind_handle<ChipHandle>(module, "ChipHandle",
                          "A registered chip kernel; valid in the whole subtree of its Worker.");
  bind_handle<LibraryHandle>(module, "LibraryHandle",
                             "A shared object that was loaded into the processes of a tree.");
  nb::class_<WorkerId>(module, "WorkerId", "A child of a Worker.")
      .def_ro("value", &WorkerId::value,
              "Its number among all children of its Worker: sub-workers, then chips, then Workers.")
      .def(
          "__eq__", [](const WorkerId& a, const WorkerId& b) { return a == b; }, nb::is_operator(),
          nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__hash__", [](const WorkerId& self) { return self.value; })
      .def(
          "__getstate__", [](const WorkerId& self) { return nb::make_tuple(self.value); },
          nb::sig("def __getstate__(self) -> tuple[int]"))
      .def(
          "__setstate__",
          [](WorkerId& self, const std::tuple<std::uint32_t>& state) {
            new (&self) WorkerId{std::get<0>(state)};
          },
          nb::sig("def __setstate__(self, state: tuple[int]) -> None"))
      .def("__repr__",
           [](const WorkerId& self) { return fmt::format("WorkerId({})", self.value); });
}

}  // namespace echelon::python
