// SPDX-License-Identifier: Apache-2.0
#include "api/child_main.h"

#include "api/next_level.h"
#include "api/sub_host.h"
#include "api/task_execution.h"
#include "api/throw_status.h"
#include "process/child_connection.h"
#include "process/control_server.h"
#include "process/last_words.h"
#include "process/task_server.h"

namespace echelon::detail {
namespace {

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
  add_node_hooks(hooks, *node);
  ControlServer control(connection.channel(), connection.parent_doorbell(), std::move(hooks));
  LocalUplink uplink(connection.edge(), control);
  node->registrar().connect(&uplink);
  ParentDuties duties(control, connection);
  node->add_duties(&duties);
  node->when_lost([&](const Status& why) { leave_child(connection.fail(why)); });
  ECHELON_RETURN_IF_ERROR(node->start([&](std::string_view phase) { connection.phase(phase); }));
  presence.enter();
  connection.ready();
  const Status status = server.serve(handler);
  node->close();
  node->registrar().connect(nullptr);
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
