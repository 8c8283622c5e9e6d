// SPDX-License-Identifier: Apache-2.0
#include "python/tasks.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include <chrono>
#include <memory>

#include "python/arguments.h"
#include "python/failures.h"
#include "python/given.h"

namespace echelon::python {
namespace {

int get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  buffer->obj = nullptr;
  if (!nb::inst_ready(self)) {
    PyErr_SetString(PyExc_TypeError, "this argument was never initialized");
    return -1;
  }
  PyArgument& argument = *nb::inst_ptr<PyArgument>(self);
  if (fill_buffer(buffer, self, argument.view, flags) != 0) return -1;
  ++argument.exports;
  return 0;
}

void release_buffer(PyObject* self, Py_buffer* /*buffer*/) {
  --nb::inst_ptr<PyArgument>(self)->exports;
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                       {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                       {0, nullptr}};

MemoryView argument_memory(const TaskArgs& args, std::size_t i) {
  const DType dtype = args.tensor_dtype(i);
  return with_dtype(dtype, [&]<class T>() {
    return args.tensor_writable(i) ? memory_view(args.tensor<T>(i))
                                   : memory_view(args.tensor<const T>(i));
  });
}

nb::object scalar_at(const TaskArgs& args, std::size_t i) {
  const DType dtype = args.scalar_dtype(i);
  const std::uint64_t bits = with_dtype(dtype, [&]<class T>() {
    const T value = args.scalar<T>(i);
    std::uint64_t whole = 0;
    std::memcpy(&whole, &value, sizeof value);
    return whole;
  });
  return scalar_object(dtype, bits);
}

nb::object deadline_of(const PyTaskArgs& self) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = self.args().deadline();
  if (deadline == Clock::time_point::max()) return nb::none();
  return nb::float_(std::chrono::duration<double>(deadline.time_since_epoch()).count());
}

std::size_t index_from(std::int64_t i, std::size_t count) {
  const auto counted = static_cast<std::int64_t>(count);
  if (i < 0) i += counted;
  // What is out of range is refused, in its own words, by the call that takes it.
  return i < 0 ? count : static_cast<std::size_t>(i);
}

nb::list handles_of(PyTaskArgs& self) {
  nb::list handles;
  const std::size_t count = self.args().tensor_count();
  for (std::size_t i = 0; i < count; ++i) handles.append(nb::cast(self.handle(i)));
  return handles;
}

nb::tuple inline_bytes_of(const PyTaskArgs& self) {
  const TaskArgs& task = self.args();
  nb::list all;
  for (std::size_t i = 0; i < task.inline_count(); ++i) {
    const auto bytes = task.inline_bytes(i);
    all.append(nb::bytes(bytes.data(), bytes.size()));
  }
  return nb::tuple(all);
}

std::string describe_args(const PyTaskArgs& self, const char* type) {
  const TaskArgs& args = self.args();
  return fmt::format("<{} at {}: {} tensors, {} scalars>", type, args.path(), args.tensor_count(),
                     args.scalar_count());
}

using TaskArgsClass = nb::class_<PyTaskArgs>;

void bind_arrays(TaskArgsClass& task_args) {
  task_args
      .def("arrays", &PyTaskArgs::arrays,
           nb::sig("def arrays(self) -> list[numpy.typing.NDArray[typing.Any]]"),
           "All tensors as NumPy arrays, in the order in which they were added; no copies."
           R"(

>>> def add(task):
...     x, y, total = task.arrays()
...     total[:] = x + y
>>> h = host.register_sub(add)
>>> x, total = host.tensor(np.arange(3)), host.tensor((3,), int)
>>> args = ec.Args().input(x).input(x).output(total)
>>> host.run(lambda orch: orch.submit(h, args).wait())
True
>>> total.array()
array([0, 2, 4]))")
      .def(
          "array",
          [](PyTaskArgs& self, std::int64_t i) {
            return self.array(index_from(i, self.args().tensor_count()));
          },
          nb::arg("i"), nb::sig("def array(self, i: int) -> numpy.typing.NDArray[typing.Any]"),
          "Tensor `i` as a NumPy array; no copy. Raises InvalidArgument where there is none."
          R"(

>>> total = host.register_sub(lambda task: int(task.array(0).sum()))
>>> args = ec.Args().input(host.tensor(np.arange(4)))
>>> host.run(lambda orch: orch.submit(total, args).result())
6)");
}

void bind_rest(TaskArgsClass& task_args) {
  task_args
      .def_prop_ro("scalars", &PyTaskArgs::scalars,
                   nb::sig("def scalars(self) -> tuple[typing.Any, ...]"),
                   "All scalars as Python numbers, in the order in which they were added.")
      .def_prop_ro(
          "inline_bytes", inline_bytes_of, nb::sig("def inline_bytes(self) -> tuple[bytes, ...]"),
          "What Args.inline_bytes() was given, each a copy, in the order in which it was given.")
      .def_prop_ro(
          "tensor_count", [](const PyTaskArgs& self) { return self.args().tensor_count(); },
          "Tensors of the task.")
      .def(
          "handle",
          [](PyTaskArgs& self, std::int64_t i) {
            return self.handle(index_from(i, self.args().tensor_count()));
          },
          nb::arg("i"),
          "Tensor `i` as a handle, to be submitted further down as its tag allows. For "
          "orchestration functions."
          R"(

>>> pod = ec.Worker(level=4)
>>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
>>> total = pod.register_sub(lambda task: int(task.array(0).sum()))
>>> def pass_on(orch, args):
...     return orch.submit(total, ec.Args().input(args.handle(0))).result()
>>> each = pod.register_orch(pass_on)
>>> with pod:
...     given = ec.Args().input(pod.tensor(np.arange(4)))
...     pod.run(lambda orch: orch.submit(each, given).result())
6)")
      .def("handles", handles_of, nb::sig("def handles(self) -> list[Tensor]"),
           "All tensors as handles."
           R"(

>>> pod = ec.Worker(level=4)
>>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
>>> each = pod.register_orch(lambda orch, args: len(args.handles()))
>>> with pod:
...     given = ec.Args().input(pod.tensor(np.arange(4)))
...     pod.run(lambda orch: orch.submit(each, given).result())
1)")
      .def_prop_ro(
          "config", [](const PyTaskArgs& self) { return self.args().config(); },
          "How the callable is to be run, as the submit or an Orchestrator above it said.")
      .def_prop_ro(
          "path", [](const PyTaskArgs& self) { return self.args().path(); },
          "Of the process this runs in: \"pod0/host1/sub0\".")
      .def(
          "cancelled", [](const PyTaskArgs& self) { return self.args().cancelled(); },
          "True once the run was cancelled or the deadline has passed: stop early."
          R"(

>>> ask = host.register_sub(lambda task: task.cancelled())
>>> host.run(lambda orch: orch.submit(ask).result())
False)")
      .def("deadline", deadline_of, nb::sig("def deadline(self) -> float | None"),
           "As of time.monotonic(), in seconds; None without one."
           R"(

>>> ask = host.register_sub(lambda task: task.deadline())
>>> host.run(lambda orch: orch.submit(ask).result()) is None
True)")
      .def("__repr__", [](const PyTaskArgs& self) { return describe_args(self, "TaskArgs"); });
}

}  // namespace

void PyTaskArgs::end() {
  args_ = nullptr;
  given_.clear();
  lent_.reset();
}

int PyTaskArgs::arrays_alive() const {
  int alive = lent_ == nullptr ? 0 : lent_->count.load(std::memory_order_relaxed);
  for (const nb::object& given : given_) alive += nb::inst_ptr<PyArgument>(given)->exports;
  return alive;
}

TaskArgs& PyTaskArgs::args() const {
  if (args_ == nullptr) throw_wrong_state("this task has ended; its arguments went with it");
  return *args_;
}

nb::object PyTaskArgs::array(std::size_t i) {
  const TaskArgs& task = args();
  nb::object argument = nb::cast(PyArgument{argument_memory(task, i)});
  given_.push_back(argument);
  return as_array(argument, task.tensor_dtype(i));
}

nb::list PyTaskArgs::arrays() {
  nb::list all;
  const std::size_t count = args().tensor_count();
  for (std::size_t i = 0; i < count; ++i) all.append(array(i));
  return all;
}

PyTensor PyTaskArgs::handle(std::size_t i) {
  Tensor tensor = args().handle(i);
  if (lent_ == nullptr) lent_ = std::make_shared<Exports>();
  return PyTensor(std::move(tensor), lent_);
}

nb::tuple PyTaskArgs::scalars() const {
  const TaskArgs& task = args();
  const auto count = static_cast<Py_ssize_t>(task.scalar_count());
  nb::tuple all = nb::steal<nb::tuple>(PyTuple_New(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyTuple_SET_ITEM(all.ptr(), i, scalar_at(task, static_cast<std::size_t>(i)).release().ptr());
  }
  return all;
}

void bind_tasks(nb::module_& module) {
  nb::class_<PyArgument>(module, "_Argument", nb::type_slots(slots),
                         "The memory of one argument of a running task.");
  TaskArgsClass task_args(module, "TaskArgs",
                          R"(The arguments of the running orchestration function.

Arrays are views of shared memory, valid while it runs: a function that keeps one beyond its return
fails. Those of tensors tagged input are read-only.)");
  bind_arrays(task_args);
  bind_rest(task_args);
  nb::class_<PyTask, PyTaskArgs>(module, "Task", R"(The argument of a sub function.

``x, y = task.arrays()`` are NumPy views of shared memory, ``task.scalars[0]`` a number. What the
function returns is the task's result.

>>> host = ec.Worker(level=3, sub_workers=1)
>>> power = host.register_sub(lambda task: task.scalars[0] ** task.scalars[1])
>>> with host:
...     host.run(lambda orch: orch.submit(power, ec.Args().scalar(2).scalar(10)).result())
1024)")
      .def("__repr__", [](const PyTask& self) { return describe_args(self, "Task"); });
}

}  // namespace echelon::python
