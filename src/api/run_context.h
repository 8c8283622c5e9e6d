// SPDX-License-Identifier: Apache-2.0
//
// RunContext: one orchestration function at work - what its Orchestrator, its TaskHandles and its
// Scopes share. Turns Args into a TaskSpec: checks, pins, encodes, submits.
//
// Threads: submits by the thread that runs the function; waits from any thread. Recycled by its
// Node, with its scratch memory, once nobody holds it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/orchestrator.h>

#include "api/run_state.h"
#include "api/task_context.h"
#include "engine/engine.h"
#include "process/driver.h"
#include "shm/task_body.h"

namespace echelon::detail {

class Node;
struct PreparedTask;

class RunContext : public std::enable_shared_from_this<RunContext> {
 public:
  explicit RunContext(Node& node);
  ~RunContext();

  // --- the node's side
  // ----------------------------------------------------------------------------
  /// Begins a run of the engine that reports to `state`. `config` is what tasks inherit.
  Status begin(RunState& state, const CallConfig& config, MonotonicNs deadline_ns);
  /// The orchestration function has returned, or failed with `status`. What it submitted goes on.
  void seal(Status status);
  /// The same, and waits for the run's end.
  void seal_and_wait(Status status);
  /// The same, for so long at most, and announced to the language.
  void seal_and_wait_for(Status status, std::chrono::nanoseconds patience);
  /// The run has ended: handles answer WrongState from here on.
  void retire();
  /// What the function's exception `info` adds to the run: nothing where wait() threw it, as the
  /// run has it already.
  Status own_failure(const ErrorInfo& info) const;
  RunId run() const { return run_; }

  // --- Orchestrator
  // --------------------------------------------------------------------------------
  TaskHandle submit(TaskKind kind, const CallableRef& ref, const Args& args,
                    const SubmitOptions& options);
  std::vector<TaskHandle> submit_group(TaskKind kind, const CallableRef& ref,
                                       std::span<const Args> args, const GroupOptions& options);
  /// A handle of `task` that ends with the last of `back`, and whose outputs are these.
  TaskHandle joined(const TaskHandle& task, std::shared_ptr<std::vector<Tensor>> outputs,
                    std::span<const TaskHandle> back) const;
  TaskHandle copy(const Tensor& dst, const Tensor& src, const SubmitOptions& options);
  /// A tensor of the Worker's own memory. Waits while there is too little and tasks in flight hold
  /// some that nobody else does.
  Tensor allocate(const Shape& shape, DType dtype);
  /// A tensor in the memory of a remote Worker.
  Tensor remote_tensor(WorkerId worker, const Shape& shape, DType dtype);
  std::uint32_t open_scope(std::string_view name);
  /// Nothing where it has ended already, with one around it.
  void close_scope(std::uint32_t scope);
  void wait_scope(std::uint32_t scope);
  std::uint32_t scope() const { return scope_; }
  Node& node() const { return *node_; }
  const CallConfig& config() const { return config_; }

  // --- TaskHandle
  // ----------------------------------------------------------------------------------
  void wait_task(TaskId task);
  /// False if it has not ended by then (absolute, 0: no deadline).
  bool wait_task_until(TaskId task, MonotonicNs deadline_ns);
  bool task_done(TaskId task);
  std::vector<std::byte> task_result(TaskId task);
  bool task_trusted(TaskId task);
  std::string describe_task(TaskId task);

 private:
  using Outputs = std::shared_ptr<std::vector<Tensor>>;
  /// What SubmitOptions and GroupOptions share.
  struct TaskPlace {
    std::optional<WorkerId> worker;
    std::span<const TaskHandle> after;
    std::chrono::nanoseconds deadline{0};
  };
  struct OpenScope {
    std::uint32_t id;
    std::string outer_name;
    std::vector<TaskId> tasks;
  };

  void check_alive() const {
    // pairs with begin() and retire()
    if (!alive_.load(std::memory_order_acquire)) throw_ended();
  }
  [[noreturn]] static void throw_ended();
  void leave();
  PreparedTask& scratch(std::size_t i);
  void prepare(PreparedTask& prepared, TaskKind kind, const CallableRef& ref, const Args& args,
               const TaskPlace& place);
  void use_late(PreparedTask& prepared, TaskKind kind, const CallableRef& ref);
  void add_tensors(PreparedTask& prepared, const Args& args, TaskKind kind, const TaskPlace& place,
                   Outputs& outputs);
  void add_tensor(PreparedTask& prepared, const Tensor& tensor, Tag tag);
  /// See Buffer::note_write(): after the submit; add_tensor() does it before.
  void note_written(const PreparedTask& prepared) const;
  Tensor allocate_output(const ArgTensor& given, TaskKind kind,
                         const std::optional<WorkerId>& worker);
  /// The config with this scope. Throws as check_config().
  CallConfig with_scope(const CallConfig& given, std::string_view scope,
                        std::string_view call) const;
  bool is_open(std::uint32_t scope) const;
  void hand_out(std::span<const TaskId> tasks, std::vector<TaskId>& outer) const;
  void place_direct_copy(PreparedTask& prepared) const;
  void encode(PreparedTask& prepared, const std::optional<CallConfig>& given);
  /// Calls `unpin` where nothing was submitted, and throws why.
  void submit_when_room(FunctionRef<Status(MonotonicNs)> submit, FunctionRef<void()> unpin);
  /// Waits for room while something in flight can make some. Throws what ended the wait.
  Status try_submit_when_room(FunctionRef<Status(MonotonicNs)> submit);
  TaskHandle handle(TaskId id, Outputs outputs);

  Node* const node_;
  RunId run_;
  RunState* state_ = nullptr;
  std::atomic<bool> alive_{false};
  CallConfig config_;
  bool config_default_ = true;
  std::uint32_t scope_ = 0;
  std::vector<OpenScope> scopes_;
  std::vector<std::unique_ptr<PreparedTask>> scratch_;
  std::vector<std::shared_ptr<const ErrorInfo>> thrown_;  // by wait_task; own_failure() knows them
};

/// Throws InvalidArgument for a config that no task frame may hold.
void check_config(const CallConfig& config, std::string_view call);

/// The contexts whose functions are running on this thread, innermost last: a run is not waited for
/// from inside itself.
bool running_on_this_thread(const RunState& state);

}  // namespace echelon::detail
