// SPDX-License-Identifier: Apache-2.0
//
// Worker: one node of the tree, from a single chip (level 2) to a cluster (level 6).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <echelon/callable.h>
#include <echelon/chip_image.h>
#include <echelon/error.h>
#include <echelon/export.h>
#include <echelon/handles.h>
#include <echelon/node_info.h>
#include <echelon/orchestrator.h>
#include <echelon/run.h>
#include <echelon/task.h>
#include <echelon/tensor.h>

/// All of Echelon's C++. What lies in `detail` is the library's own.
namespace echelon {

namespace embedding {
struct Inherited;
struct Language;
struct Shipment;
}  // namespace embedding

struct RemoteWorkerSpec;

/// A chip of this machine: the driver that knows it, and its number there.
struct ChipSpec {
  /// A driver that this installation has: `echelon doctor` lists them.
  std::string driver = "cpu";
  /// 0, 1, ... as the driver counts its devices.
  int device = 0;
};

/// What a Worker is made of. Checked by its constructor.
struct WorkerOptions {
  int level = 3;                     // 2 chip alone, 3 host, 4 pod, 5 super-node, 6 cluster
  std::string name = {};             // default: "chip0", "host0", "pod0", ... by level
  int sub_workers = 0;               // 0..256
  std::vector<ChipSpec> chips = {};  // level 3: any; level 2: exactly one; above: none
  std::chrono::milliseconds start_deadline{30'000};      // the whole tree, from start()
  std::chrono::milliseconds unresponsive_after{10'000};  // a child silent for so long is ended
  std::size_t memory_bytes_max = 0;  // of this Worker's tensors; 0: half of the machine's memory
  /// Of language bindings (embedding.h); that of the Worker that is started counts.
  std::shared_ptr<const embedding::Language> language = {};
};

/// Of one registration.
struct RegisterOptions {
  /// In a running tree: how long to wait for every process that may need the callable.
  std::chrono::milliseconds timeout{30'000};
};

/// A node of the tree. Made, given children and callables, started, used, closed. After close() it
/// may be started again.
///
/// Processes: sub-workers, chips and next-level Workers are processes, each a child of a spawner
/// that
///   start() forks; next-level Workers start their own children.
/// Threads: all methods may be called from any thread; start() and close() one at a time. A started
///   Worker has one thread of its own, asleep unless something is to be done.
/// Fork: in a process that the program forks itself a Worker is inert: close() and the destructor
/// do
///   nothing, everything else throws WrongState.
/// Ownership: a child given to add_worker() shares its state with the parent; the object may be
/// kept
///   to register callables, or dropped.
class ECHELON_API Worker {
 public:
  /// Throws InvalidArgument: level not in 2..6, chips where none belong, too many children.
  explicit Worker(WorkerOptions options);
  /// Closes.
  ~Worker();
  /// What was moved from throws WrongState at every call.
  Worker(Worker&&) noexcept;
  /// Exchanges the two: the one that was here is closed with `other`.
  Worker& operator=(Worker&&) noexcept;

  /// Puts `child`, unstarted and of a lower level (at least 3), below this Worker (level 4 or
  /// more). Throws InvalidArgument or WrongState saying which of these is not so.
  WorkerId add_worker(Worker& child);
  /// The same; the child lives on below this Worker.
  WorkerId add_worker(Worker&& child) { return add_worker(child); }
  /// Has start() make a Worker on another host, below this one (level 4 or more). Ids count
  /// together with add_worker()'s. Include <echelon/remote.h>. Throws InvalidArgument or WrongState
  /// saying what of `spec` is not possible.
  WorkerId add_remote_worker(const RemoteWorkerSpec& spec);

  // --- callables ------------------------------------------------------------------------------
  // Before start() a function is inherited by the children with all it captures, as it was at
  // start(); Workers on other hosts inherit nothing and are given what has a name in a library. In
  // a running tree it is shipped to every process of this Worker's subtree that may need it, and
  // the call returns when all have it: also while runs are in flight, from any thread, on the root
  // and on the Workers below it alike. Shipped are named functions, libraries and chip images; a
  // lambda cannot be. The same content registered twice is one callable, counted.
  //
  // In a running tree all of these throw RegistrationFailed, with one entry a process in others(),
  // where one refused, died or did not answer in time: it is then registered nowhere. They throw
  // InvalidArgument where nobody in the subtree can run it, or the name stands for other content.

  /// Registers a sub function: `void or T fn(Task&)`. Before start() only. Names are unique in a
  /// Worker, and for people.
  template <class Fn>
  requires std::is_invocable_v<Fn&, Task&> SubHandle register_sub(std::string_view name, Fn fn,
                                                                  RegisterOptions options = {}) {
    return register_sub_function(name, detail::NamedCallable::sub(std::move(fn)), options);
  }
  /// The function that ECHELON_SUB(name, ...) made (callable.h), in the program or in a library.
  SubHandle register_sub(std::string_view name, RegisterOptions options = {});

  /// Registers an orchestration function: fn(Orchestrator&), fn(Orchestrator&, TaskArgs&) or
  /// fn(Orchestrator&, TaskArgs&, const CallConfig&), returning void or a small value. Before
  /// start() only.
  template <class Fn>
  requires(std::is_invocable_v<Fn&, Orchestrator&> ||
           std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&> ||
           std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&, const CallConfig&>) OrchHandle
      register_orch(std::string_view name, Fn fn, RegisterOptions options = {}) {
    return register_orch_function(name, detail::NamedCallable::orch(std::move(fn)), options);
  }
  /// The function that ECHELON_ORCH(name, ...) made.
  OrchHandle register_orch(std::string_view name, RegisterOptions options = {});

  /// Registers a chip kernel; it is loaded into every chip of the subtree.
  ChipHandle register_chip(std::string_view name, const ChipImage& image,
                           RegisterOptions options = {});

  /// Loads the shared object at `path`, which is read now, into every process of the subtree that
  /// runs functions; its ECHELON_SUB and ECHELON_ORCH functions can then be registered by name.
  /// Before start() it is loaded into this process, and inherited.
  LibraryHandle register_library(const std::string& path, RegisterOptions options = {});

  /// Takes back one registration that was made on this Worker in the running tree; with the last
  /// the handle is refused, from this call on. Tasks that were submitted finish; then the processes
  /// forget the callable, which is not waited for. Throws StaleHandle where it was unregistered
  /// already, InvalidArgument for one of another Worker or from before start(). A library is closed
  /// once its functions are unregistered, too.
  void unregister(const SubHandle& handle) { unregister_ref(handle.ref()); }
  /// The same, of an orchestration function.
  void unregister(const OrchHandle& handle) { unregister_ref(handle.ref()); }
  /// The same, of a chip kernel.
  void unregister(const ChipHandle& handle) { unregister_ref(handle.ref()); }
  /// The same, of a library.
  void unregister(const LibraryHandle& handle) { unregister_ref(handle.ref()); }

  /// For language bindings: see ship_sub() and ship_orch() in embedding.h.
  detail::CallableRef ship(bool orch, const embedding::Shipment& shipment,
                           std::chrono::milliseconds timeout);
  /// For language bindings: see inherit_sub() and inherit_orch() in embedding.h.
  detail::CallableRef inherit(bool orch, embedding::Inherited function);
  /// For language bindings: whether the tree that this Worker is in runs, and callables are
  /// shipped.
  bool in_running_tree() const;
  /// For language bindings: whether a handle is of a Worker of the tree that this one is in.
  bool in_tree(const detail::CallableRef& ref) const;
  /// For language bindings: whether a handle from the running tree still names something there:
  /// neither unregistered, nor of a tree that has ended meanwhile. Throws WrongState after a fork.
  bool is_registered(const detail::CallableRef& ref) const;

  /// Starts the tree below this Worker. Throws StartFailed with the message of the child that
  /// failed (nothing is left; start() may be called again), WrongState when started or when a
  /// child.
  void start();
  /// Ends the tree: asks, then kills; at most 5 s. Idempotent; legal before start().
  void close();
  /// True between start() and close(), also when children have died meanwhile. Of the root alone: a
  /// Worker below another does not run in this process, and says false.
  bool started() const;

  /// A tensor in this Worker's shared memory (also before start()). Its bytes are zero.
  Tensor tensor(Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor tensor(Shape shape) {
    return tensor(std::move(shape), dtype_of<T>());
  }
  /// The same, filled with `values` (row-major, as many as the shape holds).
  template <class T>
  Tensor tensor(Shape shape, std::span<const T> values) {
    return tensor_from(std::move(shape), dtype_of<T>(), std::as_bytes(values));
  }
  /// A tensor in the memory of chip number `chip` of this Worker (level 2 or 3, started); zeroed.
  Tensor chip_tensor(std::size_t chip, Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor chip_tensor(std::size_t chip, Shape shape) {
    return chip_tensor(chip, std::move(shape), dtype_of<T>());
  }

  /// A tensor in the memory of the remote Worker `worker` of this one (started); zeroed. Given back
  /// when the last handle is gone and the last task that uses it has ended. Throws InvalidArgument
  /// where `worker` is not remote, ResourceExhausted where its memory is full, ChildLost.
  Tensor remote_tensor(WorkerId worker, Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor remote_tensor(WorkerId worker, Shape shape) {
    return remote_tensor(worker, std::move(shape), dtype_of<T>());
  }
  /// Copies `bytes` into the elements of a contiguous tensor of a remote Worker, from byte `offset`
  /// of it on; ordered like a task that writes those elements, and waited for. Throws
  /// InvalidArgument beyond the tensor's end, and what a failed task throws.
  void copy_to(const Tensor& remote, std::span<const std::byte> bytes, std::size_t offset = 0);
  /// Copies out of such a tensor, from byte `offset` on, as many bytes as `bytes` holds.
  void copy_from(const Tensor& remote, std::span<std::byte> bytes, std::size_t offset = 0);
  /// The same for elements: `offset` counts them.
  template <class T>
  void copy_to(const Tensor& remote, std::span<T> values, std::size_t offset = 0) {
    copy_to(remote, std::as_bytes(values), offset * sizeof(T));
  }
  /// See copy_to().
  template <class T>
  void copy_from(const Tensor& remote, std::span<T> values, std::size_t offset = 0) {
    copy_from(remote, std::as_writable_bytes(values), offset * sizeof(T));
  }
  /// copy_to() that is not waited for: the Run ends when the bytes are there, and can be waited
  /// for, asked and cancelled like any other. Until it has ended - done(), or wait() returned or
  /// threw - `bytes` must stay where they are and as they are: they are read where they lie, not
  /// copied first. That holds after cancel() and for a Run that was dropped, too; after close() it
  /// has ended. `keeps` is held for as long, and let go of on any thread: a shared_ptr to what owns
  /// the bytes makes it safe. Throws at once what copy_to() refuses. A copy that was cancelled or
  /// failed leaves the tensor's elements undefined.
  Run copy_to_async(const Tensor& remote, std::span<const std::byte> bytes, std::size_t offset = 0,
                    std::shared_ptr<const void> keeps = nullptr);
  /// copy_from() that is not waited for. Until the Run has ended nobody else may touch `bytes`, and
  /// what they hold is undefined. The rest as copy_to_async().
  Run copy_from_async(const Tensor& remote, std::span<std::byte> bytes, std::size_t offset = 0,
                      std::shared_ptr<const void> keeps = nullptr);
  /// The same for elements: `offset` counts them.
  template <class T>
  Run copy_to_async(const Tensor& remote, std::span<T> values, std::size_t offset = 0,
                    std::shared_ptr<const void> keeps = nullptr) {
    return copy_to_async(remote, std::as_bytes(values), offset * sizeof(T), std::move(keeps));
  }
  /// See copy_to_async().
  template <class T>
  Run copy_from_async(const Tensor& remote, std::span<T> values, std::size_t offset = 0,
                      std::shared_ptr<const void> keeps = nullptr) {
    return copy_from_async(remote, std::as_writable_bytes(values), offset * sizeof(T),
                           std::move(keeps));
  }

  /// Calls `fn(Orchestrator&)` on this thread; its tasks may still be running when submit()
  /// returns. An exception of `fn` becomes the run's error: wait() throws it. Starts the tree if
  /// need be.
  template <class Fn>
  requires std::is_invocable_v<Fn&, Orchestrator&> Run submit(Fn&& fn,
                                                              const RunOptions& options = {}) {
    return submit_function(
        [&fn](Orchestrator& orch, TaskArgs& args) { detail::call_orch(orch, args, fn); }, options);
  }
  /// submit() and wait(). Returns what `fn` returns; the run's error is thrown.
  template <class Fn>
  requires std::is_invocable_v<Fn&, Orchestrator&>
  auto run(Fn&& fn, const RunOptions& options = {}) {
    using R = std::invoke_result_t<Fn&, Orchestrator&>;
    if constexpr (std::is_void_v<R>) {
      run_function([&fn](Orchestrator& orch) { fn(orch); }, options);
    } else {
      std::optional<R> value;
      run_function([&fn, &value](Orchestrator& orch) { value.emplace(fn(orch)); }, options);
      return std::move(*value);
    }
  }
  /// For language bindings: submit(), and at once, on this same thread, a wait for the run's end,
  /// so that no other thread takes over in between. `fn` returns for how long it waits at most;
  /// after one that throws it does not. The language's before_wait() and after_wait() are called
  /// around.
  Run submit_and_wait(const std::function<std::chrono::nanoseconds(Orchestrator&)>& fn,
                      const RunOptions& options);

  /// The tree as it stands: levels, processes, states, counters. Asks every level; at most 1 s.
  NodeInfo tree() const;
  /// tree() as text, a line a node.
  std::string describe() const;

  /// 2..6, as it was made.
  int level() const;
  /// As it was made, or by level: "host0".
  const std::string& name() const;
  /// From the root to here, "pod0/host1", as far as parents are known already.
  std::string path() const;
  /// Sub-worker `i`. Throws InvalidArgument where there are not so many.
  WorkerId sub_worker(std::size_t i) const;
  /// Chip `i`, likewise.
  WorkerId chip(std::size_t i) const;

 private:
  struct State;

  /// Throws WrongState where it was moved from.
  State& state() const;

  SubHandle register_sub_function(std::string_view name, std::function<void(Task&)> fn,
                                  RegisterOptions options);
  OrchHandle register_orch_function(std::string_view name,
                                    std::function<void(Orchestrator&, TaskArgs&)> fn,
                                    RegisterOptions options);
  void unregister_ref(const detail::CallableRef& ref);
  Tensor tensor_from(Shape shape, DType dtype, std::span<const std::byte> bytes);
  Run submit_function(const std::function<void(Orchestrator&, TaskArgs&)>& fn,
                      const RunOptions& options);
  void run_function(const std::function<void(Orchestrator&)>& fn, const RunOptions& options);

  std::shared_ptr<State> state_;
};

/// Keeps `memory` (whole pages of it) out of every process that start() forks: they do not copy it,
/// and touching it there is an error. Lasts until the memory is unmapped, or end_private(): memory
/// that an allocator gives out again has to be told to it before it is freed.
ECHELON_API void keep_private(std::span<const std::byte> memory);
/// Ends keep_private() of the same `memory`.
ECHELON_API void end_private(std::span<const std::byte> memory);

}  // namespace echelon
