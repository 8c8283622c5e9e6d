// SPDX-License-Identifier: Apache-2.0
#include "python/workers.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include "python/arrays.h"
#include "python/callables.h"
#include "python/chip_specs.h"
#include "python/failures.h"
#include "python/given.h"
#include "python/orchestrators.h"
#include "python/registration.h"
#include "python/remotes.h"
#include "python/runs.h"
#include "python/tensors.h"
#include "python/worker_object.h"

namespace echelon::python {
namespace {

int traverse_worker(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  return nb::inst_ptr<PyWorker>(self)->traverse(visit, arg);
}

int clear_worker(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<PyWorker>(self)->clear();
  return 0;
}

PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(traverse_worker)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear_worker)},
                       {0, nullptr}};

// --- options
// ---------------------------------------------------------------------------------------

RunOptions run_options(nb::handle deadline, nb::handle config) {
  RunOptions options;
  options.deadline = deadline_option(deadline);
  if (!config.is_none()) options.config = expect<CallConfig>(config, "config", "a CallConfig");
  return options;
}

void check_callable(nb::handle function, const char* call) {
  if (PyCallable_Check(function.ptr()) != 0) return;
  throw nb::type_error(
      fmt::format("{}: a function was expected, not {}", call, shown(function)).c_str());
}

// --- tensors
// ---------------------------------------------------------------------------------------

/// An int, NumPy's too. Arrays and other tensors have __index__, whatever they hold, and are
/// values.
bool is_extent(nb::handle given) {
  if (PyLong_Check(given.ptr())) return PyBool_Check(given.ptr()) == 0;
  if (PyIndex_Check(given.ptr()) == 0) return false;
  if (is_numpy_integer(given)) return true;
  return !nb::hasattr(given, "__array__") && !nb::hasattr(given, "__dlpack__");
}

/// An int, or a tuple of ints.
bool is_shape(nb::handle given) {
  if (!PyTuple_Check(given.ptr())) return is_extent(given);
  for (const nb::handle extent : nb::borrow<nb::tuple>(given)) {
    if (!is_extent(extent)) return false;
  }
  return true;
}

Tensor tensor_of(Worker& worker, nb::handle data, nb::handle given_dtype) {
  const nb::object array = array_from(data, given_dtype);
  const DType dtype = dtype_from(array.attr("dtype"));
  const Shape shape = shape_from(array.attr("shape"));
  const auto address =
      nb::cast<std::uintptr_t>(array.attr("__array_interface__")["data"][nb::int_(0)]);
  const auto size = nb::cast<std::size_t>(array.attr("size"));
  const WithoutLock without;
  return with_dtype(dtype, [&]<class T>() {
    return worker.tensor<T>(shape, std::span(reinterpret_cast<const T*>(address), size));
  });
}

PyTensor make_tensor(PyWorker& self, nb::handle given, nb::handle dtype) {
  if (!is_shape(given)) return PyTensor(tensor_of(self.get(), given, dtype));
  if (dtype.is_none()) {
    throw nb::type_error(
        "tensor: a shape needs a dtype, tensor((4,), np.float32); values are given as an array or "
        "a list, one number as np.array(number)");
  }
  const Shape shape = shape_from(given);
  const DType type = dtype_from(dtype);
  const WithoutLock without;
  return PyTensor(self.get().tensor(shape, type));
}

PyTensor make_chip_tensor(PyWorker& self, std::size_t chip, nb::handle shape, nb::handle dtype) {
  const Shape extents = shape_from(shape);
  const DType type = dtype_from(dtype);
  const WithoutLock without;
  return PyTensor(self.get().chip_tensor(chip, extents, type));
}

// --- life and runs
// ---------------------------------------------------------------------------------

void start(nb::handle_t<PyWorker> self) {
  PyWorker& worker = made<PyWorker>(self);
  worker.start();
  try {
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  } catch (nb::python_error& interrupted) {
    worker.close();  // `with` does not close what it did not enter
    throw;
  }
  nb::module_::import_("echelon._src.lifetime").attr("close_at_exit")(self);
}

nb::object run(nb::handle_t<PyWorker> self, nb::handle function, nb::handle deadline,
               nb::handle config) {
  check_callable(function, "run");
  const RunOptions options = run_options(deadline, config);
  PyWorker::ensure_started(self);
  return PyRun::waited_for(made<PyWorker>(self).get(), function, options).finish();
}

PyRun submit(nb::handle_t<PyWorker> self, nb::handle function, nb::handle deadline,
             nb::handle config) {
  check_callable(function, "submit");
  const RunOptions options = run_options(deadline, config);
  PyWorker::ensure_started(self);
  return PyRun(made<PyWorker>(self).get(), function, options);
}

WorkerId add_worker(PyWorker& self, nb::handle given) {
  PyWorker& child = expect<PyWorker>(given, "add_worker", "a Worker");
  const WithoutLock without;
  return self.get().add_worker(child.get());
}

NodeInfo tree(PyWorker& self) {
  const WithoutLock without;
  return self.get().tree();
}

std::string described(PyWorker& self) {
  const WithoutLock without;
  return self.get().describe();
}

/// As the root of tree() says it: "started", "closed", "runs in its parent's tree".
std::string state_of(PyWorker& self) {
  try {
    if (self.get().started()) return "started";
    const WithoutLock without;
    return self.get().tree().state;
  } catch (const WrongState&) {
    return "of another process";
  }
}

std::string path_of(PyWorker& self) {
  const WithoutLock without;
  return self.get().path();
}

[[noreturn]] nb::object refuse_pickle(PyWorker& self) {
  throw nb::type_error(
      fmt::format("a Worker cannot be pickled ({}): it is processes and memory of this machine; "
                  "pass handles and tensors to tasks instead",
                  self.get().name())
          .c_str());
}

// --- the class
// -------------------------------------------------------------------------------------

using WorkerClass = nb::class_<PyWorker>;

constexpr const char* kInitSignature =
    "def __init__(self, level: int = 3, *, name: str = '', sub_workers: int = 0, "
    "chips: int | typing.Sequence[str | ChipSpec] = 0, "
    "start_deadline: float | datetime.timedelta = 30.0, "
    "unresponsive_after: float | datetime.timedelta = 10.0, memory_bytes_max: int = 0) -> None";

void bind_init(WorkerClass& worker) {
  worker.def(
      "__init__",
      [](PyWorker* self, int level, std::string name, int sub_workers, nb::handle chips,
         nb::handle start_deadline, nb::handle unresponsive_after, std::size_t memory_bytes_max) {
        WorkerOptions options;
        options.level = level;
        options.name = std::move(name);
        options.sub_workers = sub_workers;
        options.chips = chips_from(chips);
        options.start_deadline = milliseconds_from(start_deadline, "start_deadline");
        options.unresponsive_after = milliseconds_from(unresponsive_after, "unresponsive_after");
        options.memory_bytes_max = memory_bytes_max;
        options.language = make_language();
        new (self) PyWorker(std::move(options));
      },
      nb::arg("level") = 3, nb::kw_only(), nb::arg("name") = "", nb::arg("sub_workers") = 0,
      nb::arg("chips").none() = 0, nb::arg("start_deadline") = 30.0,
      nb::arg("unresponsive_after") = 10.0, nb::arg("memory_bytes_max") = 0,
      nb::sig(kInitSignature),
      "Raises InvalidArgument: level not in 2..6, chips where none belong, too many children.");
}

void bind_life(WorkerClass& worker) {
  worker
      .def("start", start,
           "Starts the tree below this Worker. Raises StartFailed with the message of the child "
           "that failed, WrongState when started or when a child."
           R"(

>>> host = ec.Worker(level=3, sub_workers=1)
>>> host.start()
>>> host.started
True
>>> host.close())")
      .def("close", &PyWorker::close,
           "Ends the tree: asks, then kills; at most 5 s. Idempotent. start() starts it again."
           R"(

>>> host = ec.Worker(level=3, sub_workers=1)
>>> host.start()
>>> host.close()
>>> host
<Worker host0, level 3, closed>)")
      .def_prop_ro(
          "started", [](PyWorker& self) { return self.get().started(); },
          "True between start() and close(), also when children have died meanwhile.")
      .def(
          "__enter__",
          [](nb::handle_t<PyWorker> self) {
            if (!made<PyWorker>(self).get().started()) start(self);
            return nb::borrow(self);
          },
          nb::sig("def __enter__(self) -> Worker"))
      .def(
          "__exit__", [](PyWorker& self, const nb::args&) { self.close(); },
          nb::sig("def __exit__(self, *raised: object) -> None"))
      .def("add_worker", add_worker, nb::arg("child").none(),
           nb::sig("def add_worker(self, child: Worker) -> WorkerId"),
           "Puts `child`, unstarted and of a lower level (at least 3), below this Worker."
           R"(

>>> pod = ec.Worker(level=4)
>>> pod.add_worker(ec.Worker(level=3, name="host0", sub_workers=1))
WorkerId(0))")
      .def("__reduce__", refuse_pickle, nb::sig("def __reduce__(self) -> typing.Any"));
}

void bind_tensor_makers(WorkerClass& worker) {
  worker
      .def("tensor", make_tensor, nb::arg("data").none(), nb::arg("dtype") = nb::none(),
           nb::sig("def tensor(self, data: typing.Any, dtype: typing.Any = None) -> Tensor"),
           R"(A tensor in this Worker's shared memory, also before start().

data: an array (NumPy's, or with __dlpack__), whose values are copied; or a shape, an int or a tuple
of ints, with `dtype`: zeros. Raises TypeError for objects, ValueError for another byte order,
ResourceExhausted.

>>> host.tensor(np.arange(3)).array()
array([0, 1, 2])
>>> host.tensor((2, 2), np.float32).nbytes
16)")
      .def("chip_tensor", make_chip_tensor, nb::arg("chip"), nb::arg("shape").none(),
           nb::arg("dtype"),
           nb::sig("def chip_tensor(self, chip: int, shape: int | tuple[int, ...], dtype: "
                   "typing.Any) -> Tensor"),
           "A tensor in the memory of chip number `chip` (level 2 or 3, started); zeroed."
           R"(

>>> host.chip_tensor(0, (2, 3), np.float32).shape
(2, 3))");
}

constexpr const char* kRunSignature =
    "def run(self, function: typing.Callable[[Orchestrator], T], *, "
    "deadline: float | datetime.timedelta | None = None, config: CallConfig | None = None) -> T";
constexpr const char* kSubmitSignature =
    "def submit(self, function: typing.Callable[[Orchestrator], typing.Any], *, "
    "deadline: float | datetime.timedelta | None = None, config: CallConfig | None = None) -> Run";

void bind_work(WorkerClass& worker) {
  const nb::object none = nb::none();
  worker
      .def("run", run, nb::arg("function").none(), nb::kw_only(), nb::arg("deadline") = none,
           nb::arg("config") = none, nb::sig(kRunSignature),
           R"(Calls function(orch), waits for all that it submitted, and returns what it returned.

Starts the tree if need be. deadline: seconds. What the function itself raises comes out unchanged;
a task's error as TaskFailed and its kin. Ctrl-C cancels the run; the Worker stays usable.

>>> host.run(lambda orch: (orch.path, orch.sub_worker_count))
('host0', 2))")
      .def("submit", submit, nb::arg("function").none(), nb::kw_only(), nb::arg("deadline") = none,
           nb::arg("config") = none, nb::sig(kSubmitSignature),
           "Calls function(orch) now; its tasks may still be running when this returns. What the "
           "function raises becomes the run's error."
           R"(

>>> run = host.submit(lambda orch: orch.path)
>>> run.result()
'host0')");
}

void bind_questions(WorkerClass& worker) {
  worker
      .def("tree", tree,
           "The tree as it stands, with counters. Asks every level; at most 1 s."
           R"(

>>> [child.path for child in host.tree().children]
['host0/sub0', 'host0/sub1', 'host0/chip0'])")
      .def("describe", described,
           "tree() as text, a line a node."
           R"(

>>> len(host.describe().splitlines())
4)")
      .def_prop_ro(
          "level", [](PyWorker& self) { return self.get().level(); }, "2 to 6, as it was made.")
      .def_prop_ro(
          "name", [](PyWorker& self) { return self.get().name(); },
          "As it was made, or by level: \"host0\".")
      .def_prop_ro("path", path_of, "\"pod0/host1\", as far as parents are known.")
      .def(
          "sub_worker", [](PyWorker& self, std::size_t i) { return self.get().sub_worker(i); },
          nb::arg("i"),
          "Sub-worker `i`. Raises InvalidArgument where there are not so many."
          R"(

>>> host.sub_worker(1)
WorkerId(1))")
      .def(
          "chip", [](PyWorker& self, std::size_t i) { return self.get().chip(i); }, nb::arg("i"),
          "Chip `i`. Raises InvalidArgument where there are not so many."
          R"(

>>> host.chip(0)
WorkerId(2))")
      .def("__repr__", [](PyWorker& self) {
        return fmt::format("<Worker {}, level {}, {}>", path_of(self), self.get().level(),
                           state_of(self));
      });
}

}  // namespace

void bind_workers(nb::module_& module) {
  WorkerClass worker(
      module, "Worker", nb::type_slots(slots), nb::is_weak_referenceable(),
      R"(A node of the tree: made, given children and callables, started, used, closed.

level: 2 a chip alone, 3 a host, 4 a pod, 5 a super-node, 6 a cluster. sub_workers: 0 to 256
processes that run Python functions. chips: a number of cpu chips, or a list of "driver:device".
``with ec.Worker(level=3, sub_workers=2) as host:`` starts and closes it. In the examples of all
methods, `host` is ``ec.Worker(level=3, sub_workers=2, chips=1)``, started.

>>> pod = ec.Worker(level=4)
>>> pod.add_worker(ec.Worker(level=3, name="host0", sub_workers=1))
WorkerId(0)
>>> where = pod.register_sub(lambda task: task.path)
>>> each = pod.register_orch(lambda orch: orch.submit(where).result())
>>> with pod:
...     pod.run(lambda orch: orch.submit(each).result())
'pod0/host0/sub0')");
  bind_init(worker);
  bind_life(worker);
  bind_registration(worker);
  bind_tensor_makers(worker);
  bind_remotes(worker);
  bind_work(worker);
  bind_questions(worker);
}

}  // namespace echelon::python
