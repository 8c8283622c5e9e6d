// SPDX-License-Identifier: Apache-2.0
#include "api/next_level.h"

#include <pthread.h>

#include <algorithm>

#include "api/orchestration.h"
#include "api/task_execution.h"
#include "observe/node_stats.h"
#include "process/child_boot.h"
#include "process/last_words.h"

namespace echelon::detail {
namespace {

/// For statistics: each level leaves the one below half of its own time.
std::chrono::nanoseconds stats_budget(int level) {
  return std::chrono::milliseconds(1000) / (1 << std::max(6 - level, 0));
}

}  // namespace

void OrchHandler::run(const TaskFrame& task, ResultSink& sink) {
  if (task.kind == TaskKind::kCopy) {
    const Status status = copy_host_tensors(task.body, node_.memory().pools());
    if (!status.ok()) report(status, node_.path(), nullptr, sink);
    return;
  }
  if (is_late(task.slot)) {
    const LateUse use(node_.late(), task.slot, TaskKind::kOrch);
    const bool runs_here = use.get() != nullptr && use.get()->orch;
    if (!runs_here) return report(no_callable(task), node_.path(), nullptr, sink);
    return call(*use.get(), task, sink);
  }
  const auto callable = find_callable(node_.callables(), task);
  if (!callable.ok()) return report(callable.status(), node_.path(), nullptr, sink);
  call(**callable, task, sink);
}

void OrchHandler::cancel(TaskId task) {
  const std::lock_guard lock(mutex_);
  if (state_ == nullptr || task != task_) return;
  node_.cancel_run(*state_, Status::error(Code::kCancelled, Reason::kCancelled,
                                          "cancelled by the Worker above"));
}

void OrchHandler::cancel_all(const Status& why) {
  const std::lock_guard lock(mutex_);
  if (state_ != nullptr) node_.cancel_run(*state_, why);
}

void OrchHandler::call(const Callable& callable, const TaskFrame& task, ResultSink& sink) {
  TaskContext context;
  context.body = &task.body;
  context.pools = &node_.memory().pools();
  context.path = &node_.path();
  context.deadline_ns = task.deadline_ns;
  context.term = std::make_shared<LoanTerm>();
  context.cancelled_task = &task.cancelled_task;
  context.task = task.task.value;
  RunState state;
  set_current(task.task, &state);
  const Status status = run_orchestration(node_, state, callable.orch, context);
  set_current({}, nullptr);
  // pairs with LoanBuffer::check_usable: handles kept beyond the task are stale
  context.term->over.store(true, std::memory_order_release);
  if (!status.ok()) return report(status, node_.path(), &callable, sink);
  const Status stopped = stopped_early(context);
  if (!stopped.ok()) return report(stopped, node_.path(), &callable, sink);
  if (!context.result.empty()) sink.result(context.result);
}

void OrchHandler::set_current(TaskId task, RunState* state) {
  const std::lock_guard lock(mutex_);
  task_ = task;
  state_ = state;
}

MonotonicNs ParentDuties::attend(MonotonicNs now) {
  if (const Status status = control_.poll(); !status.ok()) leave_child(connection_.fail(status));
  if (now >= look_at_ns_) {
    if (!spawner_is_parent(connection_.boot().spawner_pid)) leave_child(1);
    look_at_ns_ = now + kLookEveryNs;
  }
  return look_at_ns_;
}

std::string language_stack(const embedding::Language* language) {
  return language != nullptr && language->stack ? language->stack() : std::string();
}

void add_node_hooks(ControlHooks& hooks, Node& node) {
  hooks.stack = [executor = ::pthread_self(), language = node.language()] {
    return language_stack(language) + stack_of(executor);
  };
  hooks.registration = &node.registrar();
  hooks.stats = [&node] { return encode_node(node.info(stats_budget(node.level()))); };
}

}  // namespace echelon::detail
