// SPDX-License-Identifier: Apache-2.0
#include "api/child_main.h"

#include <pthread.h>
#include <unistd.h>

#include <mutex>

#include "api/orchestration.h"
#include "api/sub_host.h"
#include "api/task_execution.h"
#include "api/throw_status.h"
#include "observe/node_stats.h"
#include "process/child_connection.h"
#include "process/control_server.h"
#include "process/last_words.h"
#include "process/task_server.h"

namespace echelon::detail {
namespace {

/// Empty: there is none.
std::string language_stack(const embedding::Language* language) {
  return language != nullptr && language->stack ? language->stack() : std::string();
}

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

/// Runs sub functions.
class SubHandler final : public TaskHandler {
 public:
  SubHandler(const CallableTable& callables, ChildConnection& connection,
             const embedding::Language* language)
      : callables_(callables),
        pools_(connection.pools()),
        path_(connection.boot().path),
        late_(std::make_shared<SubHost>(language)) {}

  std::shared_ptr<CallableHost> callable_host() override { return late_; }

  void run(const TaskFrame& task, ResultSink& sink) override {
    if (task.kind == TaskKind::kCopy) {
      const Status status = copy_host_tensors(task.body, pools_);
      if (!status.ok()) report(status, path_, nullptr, sink);
      return;
    }
    if (is_late(task.slot)) {
      const LateUse use(late_->table(), task.slot, TaskKind::kSub);
      if (use.get() == nullptr) return report(no_callable(task), path_, nullptr, sink);
      return call(*use.get(), task, sink);
    }
    const auto callable = find_callable(callables_, task);
    if (!callable.ok()) return report(callable.status(), path_, nullptr, sink);
    call(**callable, task, sink);
  }

 private:
  void call(const Callable& callable, const TaskFrame& task, ResultSink& sink) {
    context_.body = &task.body;
    context_.pools = &pools_;
    context_.path = &path_;
    context_.deadline_ns = task.deadline_ns;
    context_.cancelled_task = &task.cancelled_task;
    context_.task = task.task.value;
    context_.told_to_stop = Reason::kNone;
    context_.result.clear();
    try {
      Task argument(context_);
      callable.sub(argument);
      const Status stopped = stopped_early(context_);
      if (!stopped.ok()) return sink.error(located(stopped.info(), path_, &callable));
      if (!context_.result.empty()) sink.result(context_.result);
    } catch (...) {
      sink.error(located(current_exception_info(), path_, &callable));
    }
  }

  const CallableTable& callables_;
  WorkerPools& pools_;
  const std::string path_;
  const std::shared_ptr<SubHost> late_;
  TaskContext context_;  // kept for its memory
};

/// Runs orchestration functions on the executor of a next-level Worker.
class OrchHandler final : public TaskHandler {
 public:
  explicit OrchHandler(Node& node) : node_(node) {}

  void run(const TaskFrame& task, ResultSink& sink) override {
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

  /// From the control ring, on the keeper's thread.
  void cancel(TaskId task) {
    const std::lock_guard lock(mutex_);
    if (state_ == nullptr || task != task_) return;
    node_.cancel_run(*state_, Status::error(Code::kCancelled, Reason::kCancelled,
                                            "cancelled by the Worker above"));
  }

 private:
  void call(const Callable& callable, const TaskFrame& task, ResultSink& sink) {
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

  void set_current(TaskId task, RunState* state) {
    const std::lock_guard lock(mutex_);
    task_ = task;
    state_ = state;
  }

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

  MonotonicNs attend(MonotonicNs now) override {
    if (const Status status = control_.poll(); !status.ok()) leave_child(connection_.fail(status));
    if (now >= look_at_ns_) {
      if (!spawner_is_parent(connection_.boot().spawner_pid)) leave_child(1);
      look_at_ns_ = now + kLookEveryNs;
    }
    return look_at_ns_;
  }

 private:
  /// PR_SET_PDEATHSIG is cleared by a change of credentials.
  static constexpr MonotonicNs kLookEveryNs = 5'000'000'000;

  ControlServer& control_;
  ChildConnection& connection_;
  MonotonicNs look_at_ns_ = 0;
};

/// For statistics: each level leaves the one below half of its own time.
std::chrono::nanoseconds stats_budget(int level) {
  return std::chrono::milliseconds(1000) / (1 << std::max(6 - level, 0));
}

Status serve_worker(ChildConnection& connection, NodeOptions options) {
  Presence presence(options.language.get());
  auto node = std::make_shared<Node>(std::move(options), connection.pools());
  connection.pools().set_upper(&connection.edge());
  OrchHandler handler(*node);
  ECHELON_RETURN_IF_ERROR(watch_stack());
  TaskServer server({connection.boot().path}, connection.channel(), connection.edge(),
                    connection.parent_doorbell(), connection.env());
  node->set_own_counters(&server.counters());
  ControlHooks hooks;
  hooks.cancel = [&](TaskId task) {
    server.request_cancel(task);
    handler.cancel(task);
  };
  hooks.shutdown = [&] { server.stop(); };
  hooks.stack = [executor = ::pthread_self(), language = node->language()] {
    return language_stack(language) + stack_of(executor);
  };
  hooks.registration = &node->registrar();
  hooks.stats = [&] { return encode_node(node->info(stats_budget(node->level()))); };
  ControlServer control(connection.channel(), connection.parent_doorbell(), std::move(hooks));
  node->registrar().connect(&connection.edge(), &control);
  ParentDuties duties(control, connection);
  node->add_duties(&duties);
  node->when_lost([&](const Status& why) { leave_child(connection.fail(why)); });
  ECHELON_RETURN_IF_ERROR(node->start([&](std::string_view phase) { connection.phase(phase); }));
  presence.enter();
  connection.ready();
  const Status status = server.serve(handler);
  node->close();
  node->registrar().connect(nullptr, nullptr);
  return status;
}

}  // namespace

int run_sub_worker(ChildBoot boot, const CallableTable& callables,
                   const embedding::Language* language) {
  Presence presence(language);
  Leaf leaf;
  leaf.stack = [language] { return language_stack(language); };
  leaf.make_handler = [&](ChildConnection& connection) -> Result<std::unique_ptr<TaskHandler>> {
    presence.enter();
    return std::unique_ptr<TaskHandler>(
        std::make_unique<SubHandler>(callables, connection, language));
  };
  return run_leaf(std::move(boot), leaf);
}

int run_next_level_worker(
    ChildBoot boot, const std::function<Result<NodeOptions>(const std::string& path)>& options) {
  SystemEnv env;
  auto connection = ChildConnection::open(std::move(boot), env);
  if (!connection.ok()) return 1;
  ChildConnection& parent = **connection;
  auto made = options(parent.boot().path);
  const Status status = made.ok() ? serve_worker(parent, std::move(made).value()) : made.status();
  return status.ok() ? 0 : parent.fail(status);
}

}  // namespace echelon::detail
