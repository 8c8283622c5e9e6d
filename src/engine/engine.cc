// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <utility>

#include <fmt/format.h>

#include "engine/engine_errors.h"
#include "engine/engine_state.h"

namespace echelon {

std::string_view to_string(TaskState state) {
  switch (state) {
    case TaskState::kBuilding:
      return "building";
    case TaskState::kWaiting:
      return "waiting";
    case TaskState::kReady:
      return "ready";
    case TaskState::kDispatched:
      return "dispatched";
    case TaskState::kRunning:
      return "running";
    case TaskState::kDone:
      return "done";
    case TaskState::kFailed:
      return "failed";
    case TaskState::kSkipped:
      return "skipped";
    case TaskState::kCancelled:
      return "cancelled";
  }
  return "invalid";
}

std::string_view to_string(ChildKind kind) {
  switch (kind) {
    case ChildKind::kSub:
      return "sub";
    case ChildKind::kChip:
      return "chip";
    case ChildKind::kWorker:
      return "worker";
  }
  return "invalid";
}

std::string_view to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::kSub:
      return "sub";
    case TaskKind::kOrch:
      return "orchestration";
    case TaskKind::kChip:
      return "chip";
    case TaskKind::kCopy:
      return "copy";
  }
  return "invalid";
}

Engine::Engine(std::string path, EngineLimits limits, EngineListener& listener)
    : state_(std::make_unique<State>(std::move(path), limits, listener)) {}

Engine::~Engine() = default;

ChildIndex Engine::add_child(ChildTraits traits, Endpoint& endpoint) {
  std::string path = state_->path + "/" + traits.name;
  return ChildIndex{state_->scheduler.add_child(std::move(traits), endpoint, std::move(path))};
}

// --- runs ---------------------------------------------------------------------------------------
Result<RunId> Engine::begin_run(const RunSpec& spec, MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  const std::uint32_t index = s.runs.allocate(spec);
  if (index == kNoIndex) {
    s.lacking = Lacking::kForEver;
    return exhausted(fmt::format("all {} runs are in use, or wait to be released", s.runs.max()),
                     s.runs, s.scopes);
  }
  ++s.counters.runs;
  if (spec.deadline_ns != 0) s.timers.set({index, true}, spec.deadline_ns);
  return s.runs.id(index);
}

void Engine::seal_run(RunId id, Status status, MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  const std::uint32_t index = s.runs.find(id);
  if (index == kNoIndex || s.runs[index].sealed) return;
  Run& run = s.runs[index];
  run.sealed = true;
  if (!status.ok()) s.runs.record_function_error(run, status.shared_info());
  if (run.live == 0) s.run_ends.push_back(index);
  s.close_input();
}

bool Engine::can_wait_for_room() const {
  const State& s = *state_;
  const bool something_moves = s.unended + s.unreleased != 0;
  switch (s.lacking) {
    case Lacking::kTasks:
      return something_moves;
    case Lacking::kScopes:
      return something_moves && s.scopes.room_will_come();
    default:
      return false;
  }
}

// --- scopes -------------------------------------------------------------------------------------
Result<std::uint32_t> Engine::open_scope(RunId run, std::uint32_t parent, std::string_view name) {
  State& s = *state_;
  ECHELON_RETURN_IF_ERROR(s.check_run(run, parent));
  if (s.scopes.room() == 0) {
    s.lacking = Lacking::kScopes;
    return exhausted(fmt::format("all {} scopes are in use", s.scopes.max()), s.runs, s.scopes);
  }
  const std::uint32_t run_index = s.runs.find(run);
  const std::uint32_t above = parent == 0 ? kNoIndex : s.scopes.find(parent);
  ++s.runs[run_index].scopes;
  return s.scopes.id(s.scopes.open(run_index, above, name));
}

void Engine::close_scope(std::uint32_t scope) {
  State& s = *state_;
  const std::uint32_t index = s.scopes.find(scope);
  if (index == kNoIndex || s.scopes[index].closed) return;
  Run& run = s.runs[s.scopes[index].run];
  run.scopes -= s.scopes.close(index);
}

std::uint32_t Engine::scope_live(std::uint32_t scope) const {
  const std::uint32_t index = state_->scopes.find(scope);
  return index == kNoIndex ? 0 : state_->scopes[index].live;
}

// --- polling ------------------------------------------------------------------------------------
std::size_t Engine::poll(MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  s.events = 0;
  for (std::uint32_t i = 0; i < s.scheduler.count(); ++i) {
    Child& child = s.scheduler[i];
    if (child.health == Health::kGone) continue;
    // Nothing of its own can make room there: what refused may have been short of something else.
    if (child.blocked && child.in_flight == 0) s.scheduler.unblock(i);
    child.endpoint->poll(*this);
    if (!child.misbehaved) continue;
    child.misbehaved = false;
    s.terminate(i,
                Status::error(Code::kDataLoss, Reason::kBadFrame,
                              fmt::format("{} reported a task that it did not hold", child.path)));
  }
  s.close_input();
  if (s.events != 0) s.counters.recalled += s.scheduler.steal(s.now);
  return s.events;
}

// --- questions ----------------------------------------------------------------------------------
TaskView Engine::task(TaskId id) const {
  const State& s = *state_;
  const std::uint32_t index = s.tasks.find(id);
  TaskView view;
  if (index == kNoIndex) return view;
  const Task& task = s.tasks[index];
  view.state = task.state;
  if (task.state == TaskState::kDispatched &&
      s.scheduler[task.child].endpoint->progress(id) == Progress::kTaken)
    view.state = TaskState::kRunning;
  view.result = s.tasks.result(task);
  const SharedError error = s.tasks.error(task);
  if (error == nullptr) return view;
  view.status =
      Status(task.state == TaskState::kSkipped ? skipped_error(task, error, s.path) : error);
  return view;
}

std::optional<ChildIndex> Engine::child_of(TaskId id) const {
  const State& s = *state_;
  const std::uint32_t index = s.tasks.find(id);
  if (index == kNoIndex || s.tasks[index].child == kNoIndex) return std::nullopt;
  return ChildIndex{s.tasks[index].child};
}

std::string Engine::describe(TaskId id) const {
  const State& s = *state_;
  const std::uint32_t index = s.tasks.find(id);
  if (index == kNoIndex) return {};
  const Task& task = s.tasks[index];
  const bool placed = task.child != kNoIndex;
  return fmt::format("{}, {}{}{}", task_text(task), to_string(this->task(id).state),
                     placed ? " at " : "", placed ? s.scheduler[task.child].path : "");
}

Status Engine::check_run(RunId run) const {
  return state_->check_run(run, 0);
}

bool Engine::run_ended(RunId run) const {
  const std::uint32_t index = state_->runs.find(run);
  return index == kNoIndex || state_->runs[index].ended;
}

bool Engine::idle() const {
  return state_->scheduler.in_flight() == 0;
}

EngineCounters Engine::counters() const {
  EngineCounters counters = state_->counters;
  counters.edges = state_->tasks.edges_made();
  counters.tasks_live = state_->tasks.live();
  counters.runs_live = state_->runs.live();
  return counters;
}

bool Engine::child_live(ChildIndex child) const {
  return state_->scheduler.live(child.value);
}
std::size_t Engine::child_count() const {
  return state_->scheduler.count();
}
std::uint32_t Engine::in_flight(ChildIndex child) const {
  return state_->scheduler[child.value].in_flight;
}

std::size_t Engine::memory_bytes() const {
  const State& s = *state_;
  return s.tasks.memory_bytes() + s.accesses.memory_bytes() + s.runs.memory_bytes() +
         s.scopes.memory_bytes() + s.groups.memory_bytes() + s.timers.memory_bytes() +
         s.ended.capacity() * sizeof(std::uint32_t);
}

}  // namespace echelon
