// SPDX-License-Identifier: Apache-2.0
//
// Orchestrator: submits tasks to the children of one Worker, inside an orchestration function.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/args.h>
#include <echelon/call_config.h>
#include <echelon/export.h>
#include <echelon/handles.h>
#include <echelon/tensor.h>

namespace echelon {

namespace detail {
class RunContext;
[[noreturn]] ECHELON_API void throw_result_size(std::size_t have, std::size_t want);
}  // namespace detail

/// A submitted task. A light value, meaningful until the run it belongs to has ended: afterwards
/// everything but done() and output() throws WrongState.
class ECHELON_API TaskHandle {
 public:
  /// Of no task: done() and output(), too, throw InvalidArgument. submit() makes the others.
  TaskHandle() = default;

  /// Returns when the task has ended, and with Stage::kCopy what it wrote is back; throws its error
  /// if it did not end well. Drives the Worker.
  void wait() const;
  /// False if it has not ended by then.
  bool wait_until(std::chrono::steady_clock::time_point deadline) const;
  /// Never blocks.
  bool done() const;
  /// Waits; then what the callable returned. Throws InvalidArgument where it returned no T.
  template <class T>
  T result() const {
    const std::vector<std::byte> bytes = result_bytes();
    if (bytes.size() != sizeof(T)) detail::throw_result_size(bytes.size(), sizeof(T));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  /// result() as bytes; empty where nothing was returned.
  std::vector<std::byte> result_bytes() const;
  /// For language bindings: whether what the task returned may be unpickled, as it ran on this
  /// host, or where the RemoteWorkerSpec says trust_results. Meaningful once the task has ended.
  bool result_is_trusted() const;
  /// The i-th output that submit() allocated (Args::output with a shape).
  Tensor output(std::size_t i) const;
  /// For people: "'scale', running at host0/sub1". Never blocks.
  std::string describe() const;

 private:
  friend class detail::RunContext;
  std::shared_ptr<detail::RunContext> run_;
  std::uint64_t id_ = 0;
  std::shared_ptr<const std::vector<Tensor>> outputs_;
  std::shared_ptr<const std::vector<std::uint64_t>> back_;  // tasks that copy back what it wrote
};

/// What becomes of local tensors that are given to a task of a remote Worker, which does not reach
/// them.
enum class Stage : std::uint8_t {
  /// As the RemoteWorkerSpec says.
  kDefault = 0,
  /// submit() throws, and says what can be done instead.
  kRefuse = 1,
  /// Inputs are copied to the remote Worker before the task, outputs and inouts back after it, each
  /// copy a task of its own. Bytes of an output never go down. A tensor that cannot have changed
  /// since it was last copied there does not travel again; one of which a view for writing was ever
  /// handed out always counts as changed. An inout is copied in and out: it is not in place.
  kCopy = 2,
};

/// How one task is submitted.
struct SubmitOptions {
  /// Which child; without it the least loaded of those that can run the task.
  std::optional<WorkerId> worker = std::nullopt;
  /// Tasks to wait for beyond what the tags say; a failed one fails this one, too.
  std::vector<TaskHandle> after = {};
  /// From now; zero means none beyond the run's. Inherited by everything below.
  std::chrono::nanoseconds deadline{0};
  /// Without it the config of the submitting orchestration function.
  std::optional<CallConfig> config = std::nullopt;
  /// For a task of a remote Worker.
  Stage stage = Stage::kDefault;
};

/// How a group is submitted: see Orchestrator::submit_group().
struct GroupOptions {
  /// One child a task, all different; empty: placed automatically.
  std::vector<WorkerId> workers = {};
  /// As SubmitOptions::after, for each task of the group.
  std::vector<TaskHandle> after = {};
  /// As SubmitOptions::deadline.
  std::chrono::nanoseconds deadline{0};
  /// As SubmitOptions::config.
  std::optional<CallConfig> config = std::nullopt;
  /// As SubmitOptions::stage, for each task of the group; it is launched when all copies are there.
  Stage stage = Stage::kDefault;
};

/// A named part of an orchestration function: errors about used-up resources name it, and wait()
/// waits for its tasks alone. Ends with the object; its tasks go on.
class ECHELON_API Scope {
 public:
  /// For Orchestrator::scope().
  Scope(std::shared_ptr<detail::RunContext> run, std::uint32_t id);
  /// What was moved from ends nothing, and cannot be waited for.
  Scope(Scope&& other) noexcept;
  Scope& operator=(Scope&&) = delete;
  /// Ends the scope; never waits.
  ~Scope();
  /// Returns when every task submitted in this scope has ended; throws the first error among them.
  void wait();

 private:
  std::shared_ptr<detail::RunContext> run_;
  std::uint32_t id_;
};

/// What an orchestration function submits with. Valid while that function runs.
///
/// Threads: the thread that runs the orchestration function. Blocking: submit() waits only while
/// the Worker's bounded tables are full and something in flight can free them.
class ECHELON_API Orchestrator {
 public:
  /// The library's own: orchestration functions are given one.
  explicit Orchestrator(detail::RunContext& run) : run_(&run) {}
  Orchestrator(const Orchestrator&) = delete;
  Orchestrator& operator=(const Orchestrator&) = delete;

  /// Throws InvalidArgument (bad arguments, foreign handle, nobody here can run it), StaleHandle,
  /// ResourceExhausted, Cancelled, DeadlineExceeded. Nothing is submitted then.
  TaskHandle submit(SubHandle callable, const Args& args = {}, const SubmitOptions& options = {});
  /// The same for an orchestration function, run by a Worker below this one.
  TaskHandle submit(OrchHandle callable, const Args& args = {}, const SubmitOptions& options = {});
  /// The same for a kernel, run by a chip of this Worker.
  TaskHandle submit(ChipHandle callable, const Args& args = {}, const SubmitOptions& options = {});

  /// One task for each element of `args`, each on a child of its own, launched together or not at
  /// all.
  std::vector<TaskHandle> submit_group(SubHandle callable, std::span<const Args> args,
                                       const GroupOptions& options = {});
  /// The same for an orchestration function.
  std::vector<TaskHandle> submit_group(OrchHandle callable, std::span<const Args> args,
                                       const GroupOptions& options = {});
  /// The same for a kernel.
  std::vector<TaskHandle> submit_group(ChipHandle callable, std::span<const Args> args,
                                       const GroupOptions& options = {});

  /// Copies elements as a task, ordered by tags like any other; host, chip and remote tensors on
  /// either side. Between two remote Workers the bytes go from host to host
  /// (RemoteWorkerSpec::direct_copies). Throws InvalidArgument where dtype or shape differ.
  TaskHandle copy(const Tensor& dst, const Tensor& src, const SubmitOptions& options = {});

  /// A tensor of this Worker, lent downwards by submitting it. Its bytes are undefined. Waits, as
  /// submit() does for its outputs, while memory is short and tasks in flight will free some;
  /// otherwise throws ResourceExhausted.
  Tensor alloc(Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor alloc(Shape shape) {
    return alloc(std::move(shape), dtype_of<T>());
  }
  /// A tensor in the memory of this Worker's chip number `chip`; zeroed.
  Tensor chip_tensor(std::size_t chip, Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor chip_tensor(std::size_t chip, Shape shape) {
    return chip_tensor(chip, std::move(shape), dtype_of<T>());
  }

  /// A tensor in the memory of the remote Worker `worker`. Its bytes are undefined. Throws
  /// InvalidArgument where `worker` is not remote, ResourceExhausted where its memory is full.
  Tensor remote_tensor(WorkerId worker, Shape shape, DType dtype);
  /// The same with the element type by its C++ type.
  template <class T>
  Tensor remote_tensor(WorkerId worker, Shape shape) {
    return remote_tensor(worker, std::move(shape), dtype_of<T>());
  }

  /// The callable that was registered under `name`, before start() or since, on this Worker or one
  /// above it; the nearest one's, where several have it. For functions that captured no handle:
  /// named ones, and all on other hosts. Looks through all that are registered, so once a call, not
  /// once a task. Throws InvalidArgument (code kNotFound) with the names that there are.
  SubHandle find_sub(std::string_view name) const;
  /// The same for an orchestration function.
  OrchHandle find_orch(std::string_view name) const;
  /// The same for a chip kernel.
  ChipHandle find_chip(std::string_view name) const;

  /// Begins a part called `name`: what is submitted from here on belongs to it, until it ends.
  /// Within another scope, it ends with that one at the latest.
  Scope scope(std::string_view name);

  /// The config this orchestration function was called with.
  const CallConfig& config() const;
  /// "pod0/host1"
  const std::string& path() const;
  /// Of this Worker: 3..6.
  int level() const;
  /// Children, by kind, in the order in which they were given.
  WorkerId sub_worker(std::size_t i) const;
  /// Chip `i`. Throws InvalidArgument where there are not so many; so do the others.
  WorkerId chip(std::size_t i) const;
  /// Next-level Worker `i`.
  WorkerId worker(std::size_t i) const;
  /// How many sub-workers this Worker has.
  std::size_t sub_worker_count() const;
  /// How many chips it has.
  std::size_t chip_count() const;
  /// How many Workers stand directly below it.
  std::size_t worker_count() const;

 private:
  detail::RunContext* run_;
};

}  // namespace echelon
