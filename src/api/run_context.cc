// SPDX-License-Identifier: Apache-2.0
#include "api/run_context.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api/names.h"
#include "api/node.h"
#include "api/prepared_task.h"
#include "api/throw_status.h"
#include "api/wait_announced.h"

namespace echelon::detail {

namespace {

thread_local std::vector<const RunState*> running_here;

}  // namespace

void check_config(const CallConfig& config, std::string_view call) {
  const auto& grid = config.grid;
  if (std::find(grid.begin(), grid.end(), 0u) != grid.end()) {
    throw_bad_argument(fmt::format("{}: a grid of {} x {} x {} blocks; each must be at least 1",
                                   call, grid[0], grid[1], grid[2]));
  }
  if (has_control_characters(config.scope)) {
    throw_bad_argument(fmt::format("{}: {}", call, control_characters_refusal(config.scope)));
  }
  const std::size_t bytes = task_body_bytes({}, {}, &config) - task_body_bytes({}, {}, nullptr);
  if (bytes > kTaskConfigBytesMax) {
    throw_new(Code::kInvalidArgument, Reason::kTooLarge,
              fmt::format("{}: the scope and the values of the config have {} bytes; at most {} "
                          "bytes are possible, and larger data belongs in a tensor",
                          call, bytes, kTaskConfigBytesMax));
  }
}

bool running_on_this_thread(const RunState& state) {
  return std::find(running_here.begin(), running_here.end(), &state) != running_here.end();
}

// --- the node's side
// --------------------------------------------------------------------------------

RunContext::RunContext(Node& node) : node_(&node) {}
RunContext::~RunContext() = default;

Status RunContext::begin(RunState& state, const CallConfig& config, MonotonicNs deadline_ns) {
  state_ = &state;
  static const CallConfig kDefault;
  config_default_ = config == kDefault;
  if (!config_default_ || !(config_ == kDefault)) config_ = config;
  scope_ = 0;
  scopes_.clear();
  thrown_.clear();
  Status status;
  auto input = [&](MonotonicNs now) {
    RunSpec spec;
    spec.deadline_ns = deadline_ns;
    spec.token = reinterpret_cast<std::uint64_t>(&state);
    auto run = node_->engine().begin_run(spec, now);
    if (!run.ok()) {
      status = run.status();
      return;
    }
    run_ = *run;
    state.begun(run_);
    node_->add_run(state);
  };
  node_->driver().apply(input);
  ECHELON_RETURN_IF_ERROR(status);
  running_here.push_back(&state);
  // pairs with check_alive(): handles that outlive the run ask from other threads
  alive_.store(true, std::memory_order_release);
  node_->driver().enter_user_code();
  return {};
}

void RunContext::leave() {
  node_->driver().leave_user_code();
  std::erase(running_here, state_);
}

void RunContext::seal(Status status) {
  leave();
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  node_->driver().apply(input);
}

void RunContext::seal_and_wait(Status status) {
  leave();
  RunState& state = *state_;
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  auto ended = [&state] { return state.ended(); };
  node_->driver().apply_and_wait(input, ended, 0);
}

void RunContext::seal_and_wait_for(Status status, std::chrono::nanoseconds patience) {
  leave();
  RunState& state = *state_;
  const auto until = node_->env().now_ns() + static_cast<MonotonicNs>(patience.count());
  auto input = [&](MonotonicNs now) { node_->engine().seal_run(run_, std::move(status), now); };
  auto ended = [&state] { return state.ended(); };
  const WaitAnnounced announced(node_->language());
  node_->driver().apply_and_wait(input, ended, until);
}

void RunContext::retire() {
  // pairs with check_alive()
  alive_.store(false, std::memory_order_release);
}

Status RunContext::own_failure(const ErrorInfo& info) const {
  const bool known = std::any_of(thrown_.begin(), thrown_.end(),
                                 [&](const auto& thrown) { return thrown.get() == &info; });
  return known ? Status() : Status(info);
}

void RunContext::throw_ended() {
  throw_new(Code::kFailedPrecondition, Reason::kWrongState,
            "the run that this task handle, scope or Orchestrator belongs to has ended");
}

// --- scopes
// -------------------------------------------------------------------------------------------

CallConfig RunContext::with_scope(const CallConfig& given, std::string_view scope,
                                  std::string_view call) const {
  CallConfig config = given;
  config.scope = scope;
  check_config(config, call);
  return config;
}

std::uint32_t RunContext::open_scope(std::string_view name) {
  check_alive();
  std::string path = config_.scope;
  if (!path.empty()) path += '/';
  path += name;
  static_cast<void>(with_scope(config_, path, "scope"));
  Result<std::uint32_t> scope(0u);
  auto input = [&](MonotonicNs) { scope = node_->engine().open_scope(run_, scope_, name); };
  node_->driver().apply(input);
  throw_if_error(scope.status());
  scopes_.push_back({*scope, std::exchange(config_.scope, std::move(path)), {}});
  scope_ = *scope;
  return scope_;
}

void RunContext::close_scope(std::uint32_t scope) {
  // Scopes end in the reverse of their order; one that ends early ends those within it.
  while (is_open(scope)) {
    const OpenScope ending = std::move(scopes_.back());
    scopes_.pop_back();
    config_.scope = ending.outer_name;
    scope_ = scopes_.empty() ? 0 : scopes_.back().id;
    auto input = [&](MonotonicNs) {
      node_->engine().close_scope(ending.id);
      if (!scopes_.empty()) hand_out(ending.tasks, scopes_.back().tasks);
    };
    // pairs with retire(): after the run's end the engine has forgotten its scopes
    if (alive_.load(std::memory_order_acquire)) node_->driver().apply(input);
  }
}

bool RunContext::is_open(std::uint32_t scope) const {
  return std::any_of(scopes_.begin(), scopes_.end(),
                     [&](const OpenScope& open) { return open.id == scope; });
}

/// The scope around answers for what has not ended well.
void RunContext::hand_out(std::span<const TaskId> tasks, std::vector<TaskId>& outer) const {
  std::copy_if(tasks.begin(), tasks.end(), std::back_inserter(outer),
               [&](TaskId task) { return node_->engine().task(task).state != TaskState::kDone; });
}

void RunContext::wait_scope(std::uint32_t scope) {
  check_alive();
  auto empty = [&] { return node_->engine().scope_live(scope) == 0; };
  wait_announced(node_->language(), node_->env(),
                 [&](MonotonicNs until) { return node_->driver().wait_until(empty, until); });
  bool within = false;
  for (const OpenScope& open : scopes_) {
    within = within || open.id == scope;
    if (!within) continue;
    for (const TaskId task : open.tasks) wait_task(task);
  }
}

// --- handles
// ------------------------------------------------------------------------------------------

void RunContext::wait_task(TaskId task) {
  static_cast<void>(wait_task_until(task, 0));
}

bool RunContext::wait_task_until(TaskId task, MonotonicNs deadline_ns) {
  check_alive();
  TaskView view;
  auto ended = [&] {
    view = node_->engine().task(task);
    return view.state >= TaskState::kDone;
  };
  if (!node_->driver().wait_until(ended, deadline_ns)) return false;
  if (view.state == TaskState::kDone) return true;
  thrown_.push_back(view.status.shared_info());
  throw_error(view.status.shared_info());
}

bool RunContext::task_done(TaskId task) {
  // pairs with retire(): everything of an ended run is done
  if (!alive_.load(std::memory_order_acquire)) return true;
  bool done = false;
  auto input = [&](MonotonicNs now) {
    node_->poll(now);
    done = node_->engine().task(task).state >= TaskState::kDone;
  };
  node_->driver().apply(input);
  return done;
}

std::string RunContext::describe_task(TaskId task) {
  std::string text;
  // pairs with retire(): the engine forgets an ended run's tasks
  if (alive_.load(std::memory_order_acquire)) {
    auto input = [&](MonotonicNs) { text = node_->engine().describe(task); };
    node_->driver().apply(input);
  }
  return text.empty() ? "of a run that has ended" : text;
}

bool RunContext::task_trusted(TaskId task) {
  check_alive();
  if (!node_->has_remotes()) return true;
  std::optional<ChildIndex> child;
  auto input = [&](MonotonicNs) { child = node_->engine().child_of(task); };
  node_->driver().apply(input);
  return child && node_->trusts(*child);
}

std::vector<std::byte> RunContext::task_result(TaskId task) {
  wait_task(task);
  std::vector<std::byte> bytes;
  auto input = [&](MonotonicNs) {
    const auto view = node_->engine().task(task).result;
    bytes.assign(view.begin(), view.end());
  };
  node_->driver().apply(input);
  return bytes;
}

}  // namespace echelon::detail
