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

#include <echelon/chip_image.h>
#include <echelon/error.h>
#include <echelon/export.h>
#include <echelon/handles.h>
#include <echelon/node_info.h>
#include <echelon/orchestrator.h>
#include <echelon/run.h>
#include <echelon/task.h>
#include <echelon/tensor.h>

namespace echelon {

/// A chip of this machine: the driver that knows it, and its number there.
struct ChipSpec {
  std::string driver = "cpu";
  int device = 0;
};

struct WorkerOptions {
  int level = 3;                     // 2 chip alone, 3 host, 4 pod, 5 super-node, 6 cluster
  std::string name = {};             // default: "chip0", "host0", "pod0", ... by level
  int sub_workers = 0;               // 0..256
  std::vector<ChipSpec> chips = {};  // level 3: any; level 2: exactly one; above: none
  std::chrono::milliseconds start_deadline{30'000};      // the whole tree, from start()
  std::chrono::milliseconds unresponsive_after{10'000};  // a child silent for so long is ended
  std::size_t memory_bytes_max = 0;  // of this Worker's tensors; 0: half of the machine's memory
};

struct RegisterOptions {};

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
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;

  /// Puts `child`, unstarted and of a lower level (at least 3), below this Worker (level 4 or
  /// more). Throws InvalidArgument or WrongState saying which of these is not so.
  WorkerId add_worker(Worker& child);
  WorkerId add_worker(Worker&& child) { return add_worker(child); }

  /// Registers a sub function: `void or T fn(Task&)`. Before start() only; children inherit it with
  /// all it captures, as it was at start(). Names are unique in a Worker, and for people.
  template <class Fn>
  requires std::is_invocable_v<Fn&, Task&> SubHandle register_sub(std::string_view name, Fn fn,
                                                                  RegisterOptions options = {}) {
    return register_sub_function(
        name, [fn = std::move(fn)](Task& task) mutable { call(task, fn, task); }, options);
  }

  /// Registers an orchestration function: fn(Orchestrator&), fn(Orchestrator&, TaskArgs&) or
  /// fn(Orchestrator&, TaskArgs&, const CallConfig&), returning void or a small value.
  template <class Fn>
  requires(std::is_invocable_v<Fn&, Orchestrator&> ||
           std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&> ||
           std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&, const CallConfig&>) OrchHandle
      register_orch(std::string_view name, Fn fn, RegisterOptions options = {}) {
    return register_orch_function(
        name,
        [fn = std::move(fn)](Orchestrator& orch, TaskArgs& args) mutable {
          call_orch(orch, args, fn);
        },
        options);
  }

  /// Registers a chip kernel; it is loaded into every chip of the subtree.
  ChipHandle register_chip(std::string_view name, const ChipImage& image,
                           RegisterOptions options = {});

  /// Starts the tree below this Worker. Throws StartFailed with the message of the child that
  /// failed (nothing is left; start() may be called again), WrongState when started or when a
  /// child.
  void start();
  /// Ends the tree: asks, then kills; at most 5 s. Idempotent; legal before start().
  void close();
  bool started() const;

  /// A tensor in this Worker's shared memory (also before start()). Its bytes are zero.
  Tensor tensor(Shape shape, DType dtype);
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
  template <class T>
  Tensor chip_tensor(std::size_t chip, Shape shape) {
    return chip_tensor(chip, std::move(shape), dtype_of<T>());
  }

  /// Calls `fn(Orchestrator&)` on this thread; its tasks may still be running when submit()
  /// returns. An exception of `fn` becomes the run's error: wait() throws it. Starts the tree if
  /// need be.
  template <class Fn>
  requires std::is_invocable_v<Fn&, Orchestrator&> Run submit(Fn&& fn,
                                                              const RunOptions& options = {}) {
    return submit_function([&fn](Orchestrator& orch, TaskArgs& args) { call_orch(orch, args, fn); },
                           options);
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

  /// The tree as it stands: levels, processes, states, counters. Asks every level; at most 1 s.
  NodeInfo tree() const;
  /// tree() as text, a line a node.
  std::string describe() const;

  int level() const;
  const std::string& name() const;
  std::string path() const;
  WorkerId sub_worker(std::size_t i) const;
  WorkerId chip(std::size_t i) const;

 private:
  struct State;

  /// Throws WrongState where it was moved from.
  State& state() const;

  template <class Args, class Fn, class... Given>
  static void call(Args& args, Fn& fn, Given&... given) {
    using R = std::invoke_result_t<Fn&, Given&...>;
    if constexpr (std::is_void_v<R>)
      fn(given...);
    else
      args.set_result(fn(given...));
  }
  template <class Fn>
  static void call_orch(Orchestrator& orch, TaskArgs& args, Fn& fn) {
    if constexpr (std::is_invocable_v<Fn&, Orchestrator&>)
      call(args, fn, orch);
    else if constexpr (std::is_invocable_v<Fn&, Orchestrator&, TaskArgs&>)
      call(args, fn, orch, args);
    else
      call(args, fn, orch, args, args.config());
  }

  SubHandle register_sub_function(std::string_view name, std::function<void(Task&)> fn,
                                  RegisterOptions options);
  OrchHandle register_orch_function(std::string_view name,
                                    std::function<void(Orchestrator&, TaskArgs&)> fn,
                                    RegisterOptions options);
  Tensor tensor_from(Shape shape, DType dtype, std::span<const std::byte> bytes);
  Run submit_function(const std::function<void(Orchestrator&, TaskArgs&)>& fn,
                      const RunOptions& options);
  void run_function(const std::function<void(Orchestrator&)>& fn, const RunOptions& options);

  std::shared_ptr<State> state_;
};

/// Keeps `memory` (whole pages of it) out of every process that start() forks: they do not copy it,
/// and touching it there is an error. Lasts until the memory is unmapped.
ECHELON_API void keep_private(std::span<const std::byte> memory);

}  // namespace echelon
