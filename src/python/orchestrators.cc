// SPDX-License-Identifier: Apache-2.0
#include "python/orchestrators.h"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <vector>

#include "python/arrays.h"
#include "python/callables.h"
#include "python/failures.h"
#include "python/given.h"
#include "python/interpreter.h"
#include "python/remotes.h"
#include "python/tensors.h"

namespace echelon::python {
namespace {

using Clock = std::chrono::steady_clock;

/// Calls fn(handle) with the C++ handle, whichever kind it is.
template <class Fn>
auto with_handle(nb::handle callable, Fn&& fn) {
  if (nb::isinstance<PySubHandle>(callable)) return fn(made<PySubHandle>(callable).handle);
  if (nb::isinstance<PyChipHandle>(callable)) return fn(made<PyChipHandle>(callable).handle);
  if (nb::isinstance<PyOrchHandle>(callable)) return fn(made<PyOrchHandle>(callable).handle);
  throw nb::type_error(
      fmt::format("submit: a handle was expected, not {}{}", nb::type_name(callable.type()).c_str(),
                  PyCallable_Check(callable.ptr()) != 0
                      ? ": register the function (register_sub, register_orch) and submit the "
                        "handle that this returns"
                      : "")
          .c_str());
}

/// What submit() and its kin are given beyond callable and arguments.
struct Given {
  nb::handle worker = nb::none();
  nb::handle after = nb::none();
  nb::handle deadline = nb::none();
  nb::handle config = nb::none();
  nb::handle stage = nb::none();
};

std::vector<TaskHandle> handles_from(nb::handle after) {
  std::vector<TaskHandle> handles;
  if (after.is_none()) return handles;
  if (nb::isinstance<TaskHandle>(after)) {
    handles.push_back(made<TaskHandle>(after));
    return handles;
  }
  constexpr const char* kExpected = "a TaskHandle, or a sequence of them,";
  if (!nb::hasattr(after, "__iter__")) throw_wrong_type(after, "after", kExpected);
  for (const nb::handle each : nb::iter(after)) {
    handles.push_back(expect<TaskHandle>(each, "after", kExpected));
  }
  return handles;
}

SubmitOptions submit_options(const Given& given) {
  SubmitOptions options;
  if (!given.worker.is_none()) {
    options.worker = expect<WorkerId>(given.worker, "worker",
                                      "a WorkerId (orch.sub_worker(i), orch.worker(i), ...)");
  }
  options.after = handles_from(given.after);
  options.deadline = deadline_option(given.deadline);
  if (!given.config.is_none()) {
    options.config = expect<CallConfig>(given.config, "config", "a CallConfig");
  }
  if (!given.stage.is_none()) options.stage = stage_from(given.stage);
  return options;
}

const Args kNoArgs;

TaskHandle submit(const PyOrchestrator& self, nb::handle callable, nb::handle args,
                  const Given& given) {
  const Args& given_args = args.is_none() ? kNoArgs : expect<Args>(args, "args", "an Args");
  const SubmitOptions options = submit_options(given);
  return with_handle(callable,
                     [&](auto handle) { return self.get().submit(handle, given_args, options); });
}

std::vector<TaskHandle> submit_group(const PyOrchestrator& self, nb::handle callable,
                                     const std::vector<Args>& args,
                                     const std::vector<WorkerId>& workers, const Given& given) {
  const SubmitOptions common = submit_options(given);
  const GroupOptions options{workers, common.after, common.deadline, common.config, common.stage};
  return with_handle(callable, [&](auto handle) {
    return self.get().submit_group(handle, std::span<const Args>(args), options);
  });
}

bool wait_task(const TaskHandle& task, nb::handle timeout) {
  return wait_interruptibly([&](Clock::time_point until) { return task.wait_until(until); },
                            deadline_from(timeout));
}

/// What a sub or orchestration function returned.
nb::object task_result(const TaskHandle& task) {
  wait_task(task, nb::none());
  const std::vector<std::byte> bytes = task.result_bytes();
  return result_object(bytes, task.result_is_trusted() ? Trust::kWhole : Trust::kPlainData);
}

struct PyScope {
  std::optional<Scope> scope;
};

void bind_task_handle(nb::module_& module) {
  nb::class_<TaskHandle>(module, "TaskHandle",
                         R"(A submitted task. Meaningful until the run it belongs to has ended.)")
      .def("wait", wait_task, nb::arg("timeout") = nb::none(),
           nb::sig("def wait(self, timeout: float | datetime.timedelta | None = None) -> bool"),
           "Returns True when the task has ended, False after `timeout` seconds; raises its error."
           R"(

>>> seven = host.register_sub(lambda task: 7)
>>> host.run(lambda orch: orch.submit(seven).wait(timeout=10))
True)")
      .def("done", &TaskHandle::done,
           "Never blocks."
           R"(

>>> seven = host.register_sub(lambda task: 7)
>>> def look(orch):
...     task = orch.submit(seven)
...     task.wait()
...     return task.done()
>>> host.run(look)
True)")
      .def("result", task_result, nb::sig("def result(self) -> typing.Any"),
           "Waits; then what the Python function returned. Raises the task's error. Of a remote "
           "Worker whose spec does not say trust_results only plain data is taken: None, bool, "
           "int, float, str, bytes, list, tuple, dict."
           R"(

>>> seven = host.register_sub(lambda task: 7)
>>> host.run(lambda orch: orch.submit(seven).result())
7)")
      .def(
          "result_bytes",
          [](const TaskHandle& self) {
            wait_task(self, nb::none());
            const auto bytes = self.result_bytes();
            return nb::bytes(bytes.data(), bytes.size());
          },
          "Waits; then the result of a C++ function, as the bytes that it set."
          R"(

>>> nothing = host.register_sub(lambda task: None)
>>> host.run(lambda orch: orch.submit(nothing).result_bytes())
b'')")
      .def(
          "output", [](const TaskHandle& self, std::size_t i) { return PyTensor(self.output(i)); },
          nb::arg("i") = 0,
          "The i-th output that submit() allocated (Args.output(shape, dtype))."
          R"(

>>> def ones(task):
...     task.array(0)[:] = 1
>>> h = host.register_sub(ones)
>>> args = ec.Args().output((3,), np.float32)
>>> host.run(lambda orch: orch.submit(h, args).output(0)).array()
array([1., 1., 1.], dtype=float32))")
      .def("__repr__", [](const TaskHandle& self) {
        const WithoutLock without;
        return fmt::format("<TaskHandle {}>", self.describe());
      });
}

void bind_scope(nb::module_& module) {
  nb::class_<PyScope>(module, "Scope", R"(A named part of an orchestration function.

``with orch.scope("load"):`` Errors about used-up resources name it. Its tasks go on after its
end.)")
      .def(
          "wait",
          [](PyScope& self) {
            if (self.scope.has_value()) self.scope->wait();
          },
          "Returns when every task submitted in this scope has ended; raises the first error."
          R"(

>>> seven = host.register_sub(lambda task: 7)
>>> def two_steps(orch):
...     with orch.scope("first") as first:
...         task = orch.submit(seven)
...         first.wait()
...     return task.done()
>>> host.run(two_steps)
True)")
      .def(
          "__enter__", [](nb::handle self) { return nb::borrow(self); },
          nb::sig("def __enter__(self) -> Scope"))
      .def(
          "__exit__", [](PyScope& self, const nb::args&) { self.scope.reset(); },
          nb::sig("def __exit__(self, *raised: object) -> None"));
}

void bind_children(nb::class_<PyOrchestrator>& orchestrator) {
  orchestrator
      .def(
          "sub_worker",
          [](const PyOrchestrator& self, std::size_t i) { return self.get().sub_worker(i); },
          nb::arg("i"),
          "Sub-worker `i`. Raises InvalidArgument where there are not so many."
          R"(

>>> host.run(lambda orch: orch.sub_worker(1))
WorkerId(1))")
      .def(
          "chip", [](const PyOrchestrator& self, std::size_t i) { return self.get().chip(i); },
          nb::arg("i"),
          "Chip `i`. Raises InvalidArgument where there are not so many."
          R"(

>>> host.run(lambda orch: orch.chip(0))
WorkerId(2))")
      .def(
          "worker", [](const PyOrchestrator& self, std::size_t i) { return self.get().worker(i); },
          nb::arg("i"),
          "Next-level Worker `i`. Raises InvalidArgument where there are not so many."
          R"(

>>> pod = ec.Worker(level=4)
>>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
>>> with pod:
...     pod.run(lambda orch: orch.worker(0)) == below
True)")
      .def_prop_ro(
          "sub_worker_count",
          [](const PyOrchestrator& self) { return self.get().sub_worker_count(); },
          "How many sub-workers this Worker has.")
      .def_prop_ro(
          "chip_count", [](const PyOrchestrator& self) { return self.get().chip_count(); },
          "How many chips this Worker has.")
      .def_prop_ro(
          "worker_count", [](const PyOrchestrator& self) { return self.get().worker_count(); },
          "How many Workers are directly below this one.")
      .def_prop_ro(
          "level", [](const PyOrchestrator& self) { return self.get().level(); },
          "Of this Worker: 3 to 6.")
      .def_prop_ro(
          "path", [](const PyOrchestrator& self) { return self.get().path(); },
          "Of this Worker: \"pod0/host1\".")
      .def_prop_ro(
          "config", [](const PyOrchestrator& self) { return self.get().config(); },
          "The config that this orchestration function was called with.")
      .def("__repr__", [](const PyOrchestrator& self) {
        if (self.orch == nullptr) return std::string("<Orchestrator, ended>");
        return fmt::format("<Orchestrator of {}>", self.orch->path());
      });
}

constexpr const char* kSubmitSignature =
    "def submit(self, callable: SubHandle | OrchHandle | ChipHandle, args: Args | None = None, *, "
    "worker: WorkerId | None = None, after: TaskHandle | typing.Iterable[TaskHandle] | None = "
    "None, "
    "deadline: float | datetime.timedelta | None = None, config: CallConfig | None = None, "
    "stage: typing.Literal['copy', 'refuse'] | None = None) -> TaskHandle";
constexpr const char* kGroupSignature =
    "def submit_group(self, callable: SubHandle | OrchHandle | ChipHandle, args: list[Args], *, "
    "workers: list[WorkerId] = [], after: TaskHandle | typing.Iterable[TaskHandle] | None = None, "
    "deadline: float | datetime.timedelta | None = None, config: CallConfig | None = None, "
    "stage: typing.Literal['copy', 'refuse'] | None = None) -> list[TaskHandle]";
constexpr const char* kCopySignature =
    "def copy(self, dst: Tensor, src: Tensor, *, worker: WorkerId | None = None, "
    "after: TaskHandle | typing.Iterable[TaskHandle] | None = None, "
    "deadline: float | datetime.timedelta | None = None, config: CallConfig | None = None) -> "
    "TaskHandle";

void bind_submit(nb::class_<PyOrchestrator>& orchestrator) {
  const nb::object none = nb::none();
  orchestrator.def(
      "submit",
      [](const PyOrchestrator& self, nb::handle callable, nb::handle args, nb::handle worker,
         nb::handle after, nb::handle deadline, nb::handle config, nb::handle stage) {
        return submit(self, callable, args, {worker, after, deadline, config, stage});
      },
      nb::arg("callable").none(), nb::arg("args").none() = none, nb::kw_only(),
      nb::arg("worker") = none, nb::arg("after") = none, nb::arg("deadline") = none,
      nb::arg("config") = none, nb::arg("stage") = none, nb::sig(kSubmitSignature),
      R"(Gives a task to a child: the least loaded of those that can run it, or `worker`.

after: tasks to wait for beyond what the tags say. deadline: seconds from now. stage: what becomes
of tensors of this host that are given to a remote Worker's task; "copy": inputs are copied there
before it, outputs and inouts back after it, so that an inout is not in place; "refuse":
InvalidArgument; None: as the Worker's RemoteWorkerSpec says. Waits only while the Worker's tables
are full. Raises InvalidArgument, StaleHandle, ResourceExhausted, Cancelled,
DeadlineExceeded, and TypeError for what is no handle; nothing is submitted then.

>>> double = host.register_sub(lambda task: 2 * task.scalars[0])
>>> def twice(orch):
...     first = orch.submit(double, ec.Args().scalar(1))
...     second = orch.submit(double, ec.Args().scalar(2), after=first, deadline=10)
...     return first.result() + second.result()
>>> host.run(twice)
6)");
}

void bind_group_and_copy(nb::class_<PyOrchestrator>& orchestrator) {
  const nb::object none = nb::none();
  orchestrator
      .def(
          "submit_group",
          [](const PyOrchestrator& self, nb::handle callable, const std::vector<Args>& args,
             const std::vector<WorkerId>& workers, nb::handle after, nb::handle deadline,
             nb::handle config, nb::handle stage) {
            return submit_group(self, callable, args, workers,
                                {nb::none(), after, deadline, config, stage});
          },
          nb::arg("callable").none(), nb::arg("args"), nb::kw_only(),
          nb::arg("workers") = std::vector<WorkerId>(), nb::arg("after") = none,
          nb::arg("deadline") = none, nb::arg("config") = none, nb::arg("stage") = none,
          nb::sig(kGroupSignature),
          "One task for each of `args`, each on a child of its own, launched together or not at "
          "all; with copies, as submit()'s `stage` says, when all of them are there."
          R"(

>>> where = host.register_sub(lambda task: task.path)
>>> def both(orch):
...     return sorted(task.result() for task in orch.submit_group(where, [ec.Args()] * 2))
>>> host.run(both)
['host0/sub0', 'host0/sub1'])")
      .def(
          "copy",
          [](const PyOrchestrator& self, const PyTensor& dst, const PyTensor& src,
             nb::handle worker, nb::handle after, nb::handle deadline, nb::handle config) {
            return self.get().copy(dst.tensor, src.tensor,
                                   submit_options({worker, after, deadline, config}));
          },
          nb::arg("dst"), nb::arg("src"), nb::kw_only(), nb::arg("worker") = none,
          nb::arg("after") = none, nb::arg("deadline") = none, nb::arg("config") = none,
          nb::sig(kCopySignature),
          "Copies elements as a task; host and chip tensors on either side. Raises "
          "InvalidArgument where dtype or shape differ."
          R"(

>>> x, y = host.tensor(np.arange(3)), host.tensor((3,), int)
>>> host.run(lambda orch: orch.copy(y, x).wait())
True
>>> y.array()
array([0, 1, 2]))");
}

}  // namespace

Orchestrator& PyOrchestrator::get() const {
  if (orch == nullptr) throw_wrong_state("this Orchestrator's function has returned");
  return *orch;
}

namespace {

/// No further from 0 than three decades; what is not a number is the least.
double seconds_from(nb::handle given, const char* what) {
  double seconds = 0;
  if (nb::hasattr(given, "total_seconds")) {
    seconds = nb::cast<double>(given.attr("total_seconds")());
  } else if (!nb::try_cast(given, seconds)) {
    throw nb::type_error(
        fmt::format("{}: seconds or a datetime.timedelta were expected, not {}", what, shown(given))
            .c_str());
  }
  constexpr double kLongest = 1e9;
  return seconds >= -kLongest ? std::min(seconds, kLongest) : -kLongest;
}

}  // namespace

std::chrono::nanoseconds duration_from(nb::handle given, const char* what) {
  if (given.is_none()) return std::chrono::nanoseconds(0);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds_from(given, what) * 1e9));
}

std::chrono::milliseconds milliseconds_from(nb::handle given, const char* what) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration_from(given, what));
}

std::chrono::nanoseconds deadline_option(nb::handle given) {
  if (!given.is_none() && !(seconds_from(given, "deadline") > 0)) {
    throw_invalid(
        fmt::format("a deadline of {}; it must be more than 0 seconds from now, and None "
                    "means no deadline",
                    nb::str(given).c_str()));
  }
  const std::chrono::nanoseconds deadline = duration_from(given, "deadline");
  // To C++ zero means none, so that less than a nanosecond is one.
  return given.is_none() ? deadline : std::max(deadline, std::chrono::nanoseconds(1));
}

Clock::time_point deadline_from(nb::handle timeout) {
  if (timeout.is_none()) return Clock::time_point::max();
  return Clock::now() + duration_from(timeout, "timeout");
}

namespace {

void bind_lookups(nb::class_<PyOrchestrator>& orchestrator) {
  orchestrator
      .def(
          "find_sub",
          [](const PyOrchestrator& self, nb::handle given) {
            std::string name = text_from(given, "name");
            const SubHandle found = self.get().find_sub(name);
            return PySubHandle{found, std::move(name)};
          },
          nb::arg("name").none(), nb::sig("def find_sub(self, name: str) -> SubHandle"),
          R"(The sub function that was registered under this name on this Worker or above it.

Of several the nearest Worker's. Looks through all there are: once a call, not once a task. Raises
InvalidArgument with the names that there are.

>>> seven = host.register_sub(lambda task: 7, "seven")
>>> host.run(lambda orch: orch.submit(orch.find_sub("seven")).result())
7)")
      .def(
          "find_orch",
          [](const PyOrchestrator& self, nb::handle given) {
            std::string name = text_from(given, "name");
            const OrchHandle found = self.get().find_orch(name);
            return PyOrchHandle{found, std::move(name)};
          },
          nb::arg("name").none(), nb::sig("def find_orch(self, name: str) -> OrchHandle"),
          "The same for an orchestration function."
          R"(

>>> pod = ec.Worker(level=4)
>>> _ = pod.add_worker(ec.Worker(level=3))
>>> _ = pod.register_orch(lambda orch: orch.path, "where")
>>> with pod:
...     pod.run(lambda orch: orch.submit(orch.find_orch("where")).result())
'pod0/host0')")
      .def(
          "find_chip",
          [](const PyOrchestrator& self, nb::handle given) {
            std::string name = text_from(given, "name");
            const ChipHandle found = self.get().find_chip(name);
            return PyChipHandle{found, std::move(name)};
          },
          nb::arg("name").none(), nb::sig("def find_chip(self, name: str) -> ChipHandle"),
          "The same for a chip kernel."
          R"(

>>> source = '''#include <echelon/chip_kernel.h>
... ECHELON_KERNEL(nothing) {}'''
>>> _ = host.register_chip("nothing", ec.ChipImage.from_source(source, "nothing"))
>>> host.run(lambda orch: orch.submit(orch.find_chip("nothing")).wait())
True)");
}

}  // namespace

void bind_orchestrators(nb::module_& module) {
  bind_task_handle(module);
  bind_scope(module);
  nb::class_<PyOrchestrator> orchestrator(
      module, "Orchestrator",
      "Submits tasks to the children of one Worker, inside an orchestration function.");
  bind_submit(orchestrator);
  bind_group_and_copy(orchestrator);
  orchestrator
      .def(
          "alloc",
          [](const PyOrchestrator& self, nb::handle shape, nb::handle dtype) {
            return PyTensor(self.get().alloc(shape_from(shape), dtype_from(dtype)));
          },
          nb::arg("shape").none(), nb::arg("dtype"),
          nb::sig("def alloc(self, shape: int | tuple[int, ...], dtype: typing.Any) -> Tensor"),
          "A tensor of this Worker; its bytes are undefined."
          R"(

>>> host.run(lambda orch: orch.alloc((2, 3), np.float32)).shape
(2, 3))")
      .def(
          "chip_tensor",
          [](const PyOrchestrator& self, std::size_t chip, nb::handle shape, nb::handle dtype) {
            return PyTensor(self.get().chip_tensor(chip, shape_from(shape), dtype_from(dtype)));
          },
          nb::arg("chip"), nb::arg("shape").none(), nb::arg("dtype"),
          nb::sig("def chip_tensor(self, chip: int, shape: int | tuple[int, ...], dtype: "
                  "typing.Any) -> Tensor"),
          "A tensor in the memory of this Worker's chip number `chip`; zeroed."
          R"(

>>> host.run(lambda orch: orch.chip_tensor(0, (2, 3), np.float32)).shape
(2, 3))")
      .def(
          "remote_tensor",
          [](const PyOrchestrator& self, const WorkerId& worker, nb::handle shape,
             nb::handle dtype) {
            return PyTensor(self.get().remote_tensor(worker, shape_from(shape), dtype_from(dtype)));
          },
          nb::arg("worker"), nb::arg("shape").none(), nb::arg("dtype"),
          nb::sig("def remote_tensor(self, worker: WorkerId, shape: int | tuple[int, ...], dtype: "
                  "typing.Any) -> Tensor"),
          "A tensor in the memory of the remote Worker `worker`; its bytes are undefined. Raises "
          "InvalidArgument where `worker` is not remote, ResourceExhausted where its memory is "
          "full, ChildLost. In the example `address` is that of a daemon."
          R"(

>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> with pod:
...     pod.run(lambda orch: orch.remote_tensor(far, (2, 3), np.float32)).shape
(2, 3))")
      .def(
          "scope",
          [](const PyOrchestrator& self, const std::string& name) {
            return PyScope{self.get().scope(name)};
          },
          nb::arg("name"),
          "A named part of this function; a context manager."
          R"(

>>> def load(orch):
...     with orch.scope("load"):
...         return orch.alloc(4, np.float32).nbytes
>>> host.run(load)
16)");
  bind_lookups(orchestrator);
  bind_children(orchestrator);
}

}  // namespace echelon::python
