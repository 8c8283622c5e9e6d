// SPDX-License-Identifier: Apache-2.0
//
// What the processes of next-level Workers share, whether the Worker above is on this machine
// (child_main.cc) or on another host (session_main.cc).
#pragma once

#include <mutex>

#include <echelon/embedding.h>

#include "api/node.h"
#include "api/run_state.h"
#include "process/child_connection.h"
#include "process/control_server.h"
#include "process/keeper.h"
#include "process/task_server.h"

namespace echelon::detail {

/// A language's presence in this process: entered once, left if it was.
class Presence {
 public:
  explicit Presence(const embedding::Language* language) : language_(language) {}
  ~Presence() {
    if (entered_ && language_->leave) language_->leave();
  }
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;
  void enter() {
    if (language_ == nullptr) return;
    if (language_->enter) language_->enter();
    entered_ = true;
  }

 private:
  const embedding::Language* const language_;
  bool entered_ = false;
};

/// Runs orchestration functions on the executor of a next-level Worker.
///
/// Threads: run() on the executor, the cancels on any.
class OrchHandler final : public TaskHandler {
 public:
  explicit OrchHandler(Node& node) : node_(node) {}

  void run(const TaskFrame& task, ResultSink& sink) override;
  /// From the Worker above.
  void cancel(TaskId task);
  /// Whatever runs.
  void cancel_all(const Status& why);

 private:
  void call(const Callable& callable, const TaskFrame& task, ResultSink& sink);
  void set_current(TaskId task, RunState* state);

  Node& node_;
  std::mutex mutex_;
  TaskId task_;
  RunState* state_ = nullptr;
};

/// The control ring of a next-level Worker, and a look at its parent, on its keeper's thread.
class ParentDuties final : public KeeperDuties {
 public:
  ParentDuties(ControlServer& control, ChildConnection& connection)
      : control_(control), connection_(connection) {}

  void arm(std::vector<FutexWaiter>& words) override { words.push_back(control_.arm()); }
  MonotonicNs attend(MonotonicNs now) override;

 private:
  /// PR_SET_PDEATHSIG is cleared by a change of credentials.
  static constexpr MonotonicNs kLookEveryNs = 5'000'000'000;

  ControlServer& control_;
  ChildConnection& connection_;
  MonotonicNs look_at_ns_ = 0;
};

/// Of the language's frames on the executor; empty: there are none.
std::string language_stack(const embedding::Language* language);

/// What is asked of a Worker's node while its executor runs a function: statistics, the executor's
/// stack (of the calling thread), registrations. Both must outlive the hooks.
void add_node_hooks(ControlHooks& hooks, Node& node);

}  // namespace echelon::detail
