// SPDX-License-Identifier: Apache-2.0
#include "python/remotes.h"

#include <echelon/remote.h>
#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "python/arrays.h"
#include "python/chip_specs.h"
#include "python/failures.h"
#include "python/given.h"
#include "python/orchestrators.h"
#include "python/runs.h"
#include "python/tensors.h"

namespace echelon::python {
namespace {

using Milliseconds = std::chrono::milliseconds;

// --- the spec
// --------------------------------------------------------------------------------------

const char* stage_text(Stage stage) {
  return stage == Stage::kCopy ? "copy" : "refuse";
}

const char* runtime_text(Runtime runtime) {
  return runtime == Runtime::kPython ? "python" : "native";
}

Runtime runtime_from(nb::handle given) {
  const std::string text = text_from(given, "runtime");
  if (text == "python") return Runtime::kPython;
  if (text == "native") return Runtime::kNative;
  throw nb::value_error(
      fmt::format("runtime: \"python\" or \"native\" was expected, not '{}'", text).c_str());
}

/// An attribute that is seconds in Python.
template <Milliseconds RemoteWorkerSpec::*kTime>
void bind_time(nb::class_<RemoteWorkerSpec>& spec, const char* name, const char* doc) {
  spec.def_prop_rw(
      name,
      [](const RemoteWorkerSpec& self) {
        return std::chrono::duration<double>(self.*kTime).count();
      },
      [name](RemoteWorkerSpec& self, nb::handle given) {
        self.*kTime = milliseconds_from(given, name);
      },
      doc, nb::for_getter(nb::sig(fmt::format("def {}(self) -> float", name).c_str())),
      nb::for_setter(
          nb::sig(fmt::format("def {}(self, given: float | datetime.timedelta, /) -> None", name)
                      .c_str())));
}

/// What is given after address and name.
struct Given {
  int level, sub_workers;
  nb::handle chips;
  std::size_t memory_bytes_max;
  std::string lane;
  nb::handle tls_dir;
  bool insecure;
  nb::handle connect_timeout, lease, health_deadline, unresponsive_after;
  bool trust_results;
  nb::handle stage, runtime;
  bool direct_copies;
  nb::handle remote_workers;
};

std::vector<RemoteWorkerSpec> specs_from(nb::handle given) {
  std::vector<RemoteWorkerSpec> specs;
  for (const nb::handle one : nb::iter(given)) {
    specs.push_back(expect<RemoteWorkerSpec>(one, "remote_workers", "a RemoteWorkerSpec"));
  }
  return specs;
}

RemoteWorkerSpec spec_from(std::string address, std::string name, Given given) {
  RemoteWorkerSpec spec;
  spec.address = std::move(address);
  spec.name = std::move(name);
  spec.level = given.level;
  spec.sub_workers = given.sub_workers;
  spec.chips = chips_from(given.chips);
  spec.memory_bytes_max = given.memory_bytes_max;
  spec.lane = std::move(given.lane);
  spec.tls_dir = path_from(given.tls_dir, "tls_dir");
  spec.insecure = given.insecure;
  spec.connect_timeout = milliseconds_from(given.connect_timeout, "connect_timeout");
  spec.lease = milliseconds_from(given.lease, "lease");
  spec.health_deadline = milliseconds_from(given.health_deadline, "health_deadline");
  spec.unresponsive_after = milliseconds_from(given.unresponsive_after, "unresponsive_after");
  spec.trust_results = given.trust_results;
  spec.stage = stage_from(given.stage);
  spec.remote_workers = specs_from(given.remote_workers);
  spec.runtime = runtime_from(given.runtime);
  spec.direct_copies = given.direct_copies;
  return spec;
}

constexpr const char* kInitSignature =
    "def __init__(self, address: str, name: str, *, level: int = 3, sub_workers: int = 0, "
    "chips: int | typing.Sequence[str | ChipSpec] = 0, memory_bytes_max: int = 0, "
    "lane: str = 'grpc', tls_dir: str | os.PathLike[str] = '', insecure: bool = False, "
    "connect_timeout: float | datetime.timedelta = 5.0, "
    "lease: float | datetime.timedelta = 10.0, "
    "health_deadline: float | datetime.timedelta = 2.0, "
    "unresponsive_after: float | datetime.timedelta = 10.0, trust_results: bool = False, "
    "stage: typing.Literal['copy', 'refuse'] = 'refuse', "
    "runtime: typing.Literal['python', 'native'] = 'python', direct_copies: bool = True, "
    "remote_workers: typing.Sequence[RemoteWorkerSpec] = ()) -> None";

void bind_init(nb::class_<RemoteWorkerSpec>& spec) {
  spec.def(
      "__init__",
      [](RemoteWorkerSpec* self, std::string address, std::string name, int level, int sub_workers,
         nb::handle chips, std::size_t memory_bytes_max, std::string lane, nb::handle tls_dir,
         bool insecure, nb::handle connect_timeout, nb::handle lease, nb::handle health_deadline,
         nb::handle unresponsive_after, bool trust_results, nb::handle stage, nb::handle runtime,
         bool direct_copies, nb::handle remote_workers) {
        new (self) RemoteWorkerSpec(
            spec_from(std::move(address), std::move(name),
                      {level, sub_workers, chips, memory_bytes_max, std::move(lane), tls_dir,
                       insecure, connect_timeout, lease, health_deadline, unresponsive_after,
                       trust_results, stage, runtime, direct_copies, remote_workers}));
      },
      nb::arg("address"), nb::arg("name"), nb::kw_only(), nb::arg("level") = 3,
      nb::arg("sub_workers") = 0, nb::arg("chips").none() = 0, nb::arg("memory_bytes_max") = 0,
      nb::arg("lane") = "grpc", nb::arg("tls_dir") = "", nb::arg("insecure") = false,
      nb::arg("connect_timeout") = 5.0, nb::arg("lease") = 10.0, nb::arg("health_deadline") = 2.0,
      nb::arg("unresponsive_after") = 10.0, nb::arg("trust_results") = false,
      nb::arg("stage") = "refuse", nb::arg("runtime") = "python", nb::arg("direct_copies") = true,
      nb::arg("remote_workers") = nb::tuple(), nb::sig(kInitSignature),
      "Checked by Worker.add_remote_worker(); here only types, chips, stage, runtime and times, "
      "which are seconds.");
}

void bind_shape_of_worker(nb::class_<RemoteWorkerSpec>& spec) {
  spec.def_rw("address", &RemoteWorkerSpec::address,
              "Of the daemon: \"host:port\", \"[v6]:port\" or \"unix:/path\".")
      .def_rw("name", &RemoteWorkerSpec::name, "Unique among the children of its parent.")
      .def_rw("level", &RemoteWorkerSpec::level, "Below its parent's; 3 is a host.")
      .def_rw("sub_workers", &RemoteWorkerSpec::sub_workers, "0 to 256, on the other host.")
      .def_prop_rw(
          "chips", [](const RemoteWorkerSpec& self) { return self.chips; },
          [](RemoteWorkerSpec& self, nb::handle given) { self.chips = chips_from(given); },
          nb::for_getter(nb::sig("def chips(self) -> list[ChipSpec]")),
          nb::for_setter(
              nb::sig("def chips(self, given: int | typing.Sequence[str | ChipSpec], /) -> None")),
          "Of the other host; level 3 alone. Set as Worker() takes them.")
      .def_prop_rw(
          "remote_workers", [](const RemoteWorkerSpec& self) { return self.remote_workers; },
          [](RemoteWorkerSpec& self, nb::handle given) { self.remote_workers = specs_from(given); },
          nb::for_getter(nb::sig("def remote_workers(self) -> list[RemoteWorkerSpec]")),
          nb::for_setter(nb::sig("def remote_workers(self, given: "
                                 "typing.Sequence[RemoteWorkerSpec], /) -> None")),
          "Workers on further hosts, below this one of level 4 or more, which its session starts: "
          "their addresses are as its host sees them, and their keys that host's, so that they "
          "have "
          "no tls_dir. In its orchestration functions they come after its sub-workers.")
      .def_rw("memory_bytes_max", &RemoteWorkerSpec::memory_bytes_max,
              "Of tensors in the remote Worker's memory; 0: as much as its daemon gives.")
      .def_rw("lane", &RemoteWorkerSpec::lane,
              "What carries tasks and tensors: \"grpc\". \"auto\" chooses.");
}

void bind_way_there(nb::class_<RemoteWorkerSpec>& spec) {
  spec.def_prop_rw(
          "tls_dir", [](const RemoteWorkerSpec& self) { return text_object(self.tls_dir); },
          [](RemoteWorkerSpec& self, nb::handle given) {
            self.tls_dir = path_from(given, "tls_dir");
          },
          nb::for_getter(nb::sig("def tls_dir(self) -> str")),
          nb::for_setter(nb::sig("def tls_dir(self, given: str | os.PathLike[str], /) -> None")),
          "A folder with ca.pem, host.pem and host.key, as `echelon keys` makes them: both ends "
          "show a certificate and check the other's.")
      .def_rw("insecure", &RemoteWorkerSpec::insecure,
              "Plain text to an address that is neither loopback nor a unix socket: whoever can "
              "reach the network reads and changes everything. Without this it is refused.")
      .def_rw("trust_results", &RemoteWorkerSpec::trust_results,
              "What this session returns, and raises, is unpickled here: code of its choice then "
              "runs here. Without it results are plain data.")
      .def_rw(
          "direct_copies", &RemoteWorkerSpec::direct_copies,
          "Copies between this Worker's tensors and those of another remote one go from host to "
          "host: the two sessions connect to each other, with certificates as everything else, "
          "where they listen for this program. False: they go by way of this host.")
      .def_prop_rw(
          "stage", [](const RemoteWorkerSpec& self) { return stage_text(self.stage); },
          [](RemoteWorkerSpec& self, nb::handle given) { self.stage = stage_from(given); },
          nb::for_getter(nb::sig("def stage(self) -> typing.Literal['copy', 'refuse']")),
          nb::for_setter(
              nb::sig("def stage(self, given: typing.Literal['copy', 'refuse'], /) -> None")),
          "What becomes of this host's tensors that are given to this Worker's tasks, where "
          "Orchestrator.submit() is not told.");
  spec.def_prop_rw(
      "runtime", [](const RemoteWorkerSpec& self) { return runtime_text(self.runtime); },
      [](RemoteWorkerSpec& self, nb::handle given) { self.runtime = runtime_from(given); },
      nb::for_getter(nb::sig("def runtime(self) -> typing.Literal['python', 'native']")),
      nb::for_setter(
          nb::sig("def runtime(self, given: typing.Literal['python', 'native'], /) -> None")),
      "\"python\": functions of Python run there, too; the daemon needs a Python (`python -m "
      "echelon "
      "daemon`) and has to allow pickles, or the modules of import paths. \"native\": C++ "
      "functions "
      "alone, in processes without Python, which start faster.");
  bind_time<&RemoteWorkerSpec::connect_timeout>(
      spec, "connect_timeout", "Seconds to reach the daemon, and then the session, each.");
  bind_time<&RemoteWorkerSpec::lease>(
      spec, "lease",
      "Seconds; a session that hears nothing from its parent for so long ends itself and all "
      "below it.");
  bind_time<&RemoteWorkerSpec::health_deadline>(
      spec, "health_deadline",
      "Seconds; a session that is silent for so long is taken for lost: its tasks fail. 0.1 to "
      "`lease`.");
  bind_time<&RemoteWorkerSpec::unresponsive_after>(
      spec, "unresponsive_after", "Seconds; as Worker's, for the remote Worker's own children.");
}

// --- tensors and copies
// ----------------------------------------------------------------------------

WorkerId add_remote_worker(PyWorker& self, nb::handle given) {
  const auto& spec = expect<RemoteWorkerSpec>(given, "add_remote_worker", "a RemoteWorkerSpec");
  const WithoutLock without;
  return self.get().add_remote_worker(spec);
}

PyTensor remote_tensor(nb::handle_t<PyWorker> self, const WorkerId& worker, nb::handle shape,
                       nb::handle dtype) {
  const Shape extents = shape_from(shape);
  const DType type = dtype_from(dtype);
  PyWorker::ensure_started(self);
  Worker& parent = made<PyWorker>(self).get();
  const WithoutLock without(Waits::kInterruptible);
  return PyTensor(parent.remote_tensor(worker, extents, type));
}

/// Elements [offset, offset + count) of `remote` as one dimension. Throws InvalidArgument beyond
/// its end.
Tensor part_of(const Tensor& remote, std::int64_t offset, std::int64_t count, const char* call) {
  const auto size = static_cast<std::int64_t>(remote.size());
  if (offset < 0 || count < 0 || offset > size || count > size - offset) {
    throw_invalid(fmt::format("{}: {} elements from element {} on, of {}, which has {}", call,
                              count, offset, remote.describe(), size));
  }
  return remote.reshape({size}).slice(0, offset, offset + count);
}

/// What is given as elements, of the tensor's dtype: arrays are not converted, as that would lose
/// digits unseen.
nb::object elements_from(nb::handle given, const Tensor& remote) {
  const bool is_array = nb::hasattr(given, "__array__") || nb::hasattr(given, "__dlpack__") ||
                        nb::hasattr(given, "__array_interface__");
  if (!is_array) return array_from(given, dtype_object(remote.dtype()));
  nb::object array = array_from(given, nb::none());
  const DType dtype = dtype_from(array.attr("dtype"));
  if (dtype == remote.dtype()) return array;
  throw_invalid(fmt::format("copy_to: values of {} for {}; convert them first, values.astype({})",
                            to_string(dtype), remote.describe(), to_string(remote.dtype())));
}

PyRun copy_to_async(PyWorker& self, const PyTensor& given, nb::handle values, std::int64_t offset) {
  const Tensor& remote = given.tensor;
  {
    const WithoutLock without;  // of what is not remote, or gone, it says so
    self.get().copy_to(remote, std::span<const std::byte>());
  }
  self.parking()->sweep();
  nb::object array = elements_from(values, remote);
  const auto count = nb::cast<std::int64_t>(array.attr("size"));
  const Tensor to = part_of(remote, offset, count, "copy_to");
  const auto address =
      nb::cast<std::uintptr_t>(array.attr("__array_interface__")["data"][nb::int_(0)]);
  const std::span bytes(reinterpret_cast<const std::byte*>(address), to.bytes());
  auto keeps = self.parking()->hold(std::move(array));
  Run run = [&] {
    const WithoutLock without;
    return self.get().copy_to_async(to, bytes, 0, std::move(keeps));
  }();
  return {std::move(run), nb::none(), self.parking()};
}

void copy_to(PyWorker& self, const PyTensor& given, nb::handle values, std::int64_t offset) {
  copy_to_async(self, given, values, offset).result();
}

PyRun copy_from_async(PyWorker& self, const PyTensor& given, std::int64_t offset,
                      nb::handle given_count) {
  const Tensor& remote = given.tensor;
  {
    const WithoutLock without;
    self.get().copy_from(remote, std::span<std::byte>());
  }
  const bool whole = offset == 0 && given_count.is_none();
  const std::int64_t count = given_count.is_none()
                                 ? static_cast<std::int64_t>(remote.size()) - offset
                                 : integer_from(given_count, "count");
  const Tensor from = whole ? remote : part_of(remote, offset, count, "copy_from");
  const Tensor to = [&] {
    const WithoutLock without;
    return self.get().tensor(from.shape(), remote.dtype());
  }();
  nb::object array = nb::cast(PyTensor(to)).attr("array")();
  Run run = [&] {
    const WithoutLock without;
    return self.get().submit([&](Orchestrator& orch) {
      if (count != 0) orch.copy(to, from);
    });
  }();
  return {std::move(run), std::move(array), self.parking()};
}

nb::object copy_from(PyWorker& self, const PyTensor& given, std::int64_t offset, nb::handle count) {
  return copy_from_async(self, given, offset, count).result();
}

}  // namespace

Stage stage_from(nb::handle given) {
  const std::string text = text_from(given, "stage");
  if (text == "copy") return Stage::kCopy;
  if (text == "refuse") return Stage::kRefuse;
  throw nb::value_error(
      fmt::format("stage: \"copy\" or \"refuse\" was expected, not {}", shown(given)).c_str());
}

void bind_remote_spec(nb::module_& module) {
  nb::class_<RemoteWorkerSpec> spec(module, "RemoteWorkerSpec",
                                    R"(A Worker on another host, for Worker.add_remote_worker().

address: of the daemon there, `python -m echelon daemon --allow pickle`. Functions of Python run
there with a copy of what they capture; C++ functions by name from a library (--allow library). What
may be shipped is in tutorial-python.md; who trusts whom, in security.md.

>>> spec = ec.RemoteWorkerSpec("127.0.0.1:7171", "host0", sub_workers=2, chips=1, lease=30)
>>> spec
<RemoteWorkerSpec host0, level 3, at 127.0.0.1:7171>
>>> spec.chips, spec.lease, spec.stage, spec.runtime
([ChipSpec('cpu', 0)], 30.0, 'refuse', 'python')
>>> below = ec.RemoteWorkerSpec("host1:7171", "host1")
>>> ec.RemoteWorkerSpec("127.0.0.1:7171", "pod0", level=4, remote_workers=[below]).remote_workers
[<RemoteWorkerSpec host1, level 3, at host1:7171>])");
  bind_init(spec);
  bind_shape_of_worker(spec);
  bind_way_there(spec);
  spec.def("__repr__", [](const RemoteWorkerSpec& self) {
    return fmt::format("<RemoteWorkerSpec {}, level {}, at {}>", self.name, self.level,
                       self.address);
  });
}

namespace {

void bind_copies(nb::class_<PyWorker>& worker) {
  worker
      .def("copy_to", copy_to, nb::arg("tensor"), nb::arg("values").none(), nb::arg("offset") = 0,
           nb::sig("def copy_to(self, tensor: Tensor, values: typing.Any, offset: int = 0) -> "
                   "None"),
           R"(Copies `values` into a contiguous tensor of a remote Worker, and waits for it.

values: an array of the tensor's dtype (not converted), or a number or list. They go in row by row,
from element `offset` on; ordered like a task that writes those elements. Raises InvalidArgument
beyond the tensor's end or for another dtype, StaleHandle, and what a failed task raises. Ctrl-C
cancels it; the elements are then undefined. In the example `address` is that of a daemon.

>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> with pod:
...     x = pod.remote_tensor(far, 4, np.float32)
...     pod.copy_to(x, np.arange(4, dtype=np.float32))
...     pod.copy_to(x, [7, 8], offset=1)
...     pod.copy_from(x)
array([0., 7., 8., 3.], dtype=float32))")
      .def("copy_from", copy_from, nb::arg("tensor"), nb::arg("offset") = 0,
           nb::arg("count") = nb::none(),
           nb::sig("def copy_from(self, tensor: Tensor, offset: int = 0, count: int | None = "
                   "None) -> numpy.typing.NDArray[typing.Any]"),
           R"(The elements of a contiguous tensor of a remote Worker, as a NumPy array here.

All of them in the tensor's shape; with `offset` or `count` that many from element `offset` on, row
by row, in one dimension. Ordered like a task that reads them, and waited for. The array is of this
Worker's shared memory, which is given back with it. Raises as copy_to(). In the example `address`
is that of a daemon.

>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> with pod:
...     x = pod.remote_tensor(far, (2, 2), np.int64)
...     pod.copy_to(x, [[1, 2], [3, 4]])
...     pod.copy_from(x), pod.copy_from(x, offset=1, count=2)
(array([[1, 2],
       [3, 4]]), array([2, 3])))");
}

void bind_async_copies(nb::class_<PyWorker>& worker) {
  worker
      .def("copy_to_async", copy_to_async, nb::arg("tensor"), nb::arg("values").none(),
           nb::arg("offset") = 0,
           nb::sig("def copy_to_async(self, tensor: Tensor, values: typing.Any, offset: int = 0) "
                   "-> Run"),
           R"(copy_to() that is not waited for: its Run ends when the elements are there.

An array is read where it lies: do not write to it before the run has ended. The run keeps it, also
where nobody keeps the run. Refuses at once what copy_to() refuses; wait(), done(), cancel() and
``await`` are those of every Run. In the example `address` is that of a daemon.

>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> with pod:
...     x = pod.remote_tensor(far, 4, np.float32)
...     there = pod.copy_to_async(x, np.arange(4, dtype=np.float32))
...     back = pod.copy_from_async(x, offset=2)  # ordered behind it
...     there.wait(timeout=10), back.result()
(True, array([2., 3.], dtype=float32)))")
      .def("copy_from_async", copy_from_async, nb::arg("tensor"), nb::arg("offset") = 0,
           nb::arg("count") = nb::none(),
           nb::sig("def copy_from_async(self, tensor: Tensor, offset: int = 0, count: int | None = "
                   "None) -> Run"),
           R"(copy_from() that is not waited for: result(), and ``await``, give the array.

In the example `address` is that of a daemon.

>>> import asyncio
>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> async def first(x):
...     return await pod.copy_from_async(x, count=1)
>>> with pod:
...     asyncio.run(first(pod.remote_tensor(far, 3, np.int64)))
array([0]))");
}

}  // namespace

void bind_remotes(nb::class_<PyWorker>& worker) {
  worker
      .def("add_remote_worker", add_remote_worker, nb::arg("spec").none(),
           nb::sig("def add_remote_worker(self, spec: RemoteWorkerSpec) -> WorkerId"),
           "Has start() make a Worker on another host, below this one (level 4 or more). Ids "
           "count together with add_worker()'s. Raises InvalidArgument or WrongState saying what "
           "of `spec` is not possible."
           R"(

>>> pod = ec.Worker(level=4)
>>> pod.add_remote_worker(ec.RemoteWorkerSpec("127.0.0.1:7171", "host0", sub_workers=1))
WorkerId(0))")
      .def("remote_tensor", remote_tensor, nb::arg("worker"), nb::arg("shape").none(),
           nb::arg("dtype"),
           nb::sig("def remote_tensor(self, worker: WorkerId, shape: int | tuple[int, ...], dtype: "
                   "typing.Any) -> Tensor"),
           R"(A tensor in the memory of the remote Worker `worker` of this one; zeroed.

Given back when the last handle is gone and the last task that uses it has ended. Starts the tree if
need be. Raises InvalidArgument where `worker` is not remote, ResourceExhausted where its memory is
full, ChildLost. In the example `address` is that of a daemon.

>>> pod = ec.Worker(level=4)
>>> far = pod.add_remote_worker(ec.RemoteWorkerSpec(address, "host0"))
>>> with pod:
...     pod.remote_tensor(far, (2, 3), np.float32).nbytes
24)");
  bind_copies(worker);
  bind_async_copies(worker);
}

}  // namespace echelon::python
