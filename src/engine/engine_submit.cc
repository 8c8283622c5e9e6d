// SPDX-License-Identifier: Apache-2.0
//
// The way in: checks, edges, accesses, and the one point at which a task leaves Building.
#include <algorithm>

#include <fmt/format.h>

#include "engine/engine_state.h"

namespace echelon {

namespace {

Status wrong_state(std::string message) {
  return Status::error(Code::kFailedPrecondition, Reason::kWrongState, std::move(message));
}

/// What the errors say of a task that has no record yet.
Task described(const TaskSpec& spec) {
  Task task;
  task.kind = spec.kind;
  task.callable = spec.callable.data();
  task.callable_bytes = static_cast<std::uint32_t>(spec.callable.size());
  return task;
}

}  // namespace

// --- checks -------------------------------------------------------------------------------------
Status Engine::State::check_run(RunId id, std::uint32_t scope) const {
  const std::uint32_t index = runs.find(id);
  if (index == kNoIndex) return wrong_state("the run has ended");
  const Run& run = runs[index];
  if (run.cancelled)
    return Status::error(Code::kCancelled, Reason::kCancelled, "the run was cancelled");
  if (run.expired || (run.deadline_ns != 0 && now >= run.deadline_ns))
    return Status::error(Code::kDeadlineExceeded, Reason::kDeadline,
                         "the deadline of the run has passed");
  if (run.sealed) return wrong_state("the run takes no more tasks: its function has returned");
  if (scope == 0) return {};
  const std::uint32_t scope_index = scopes.find(scope);
  if (scope_index == kNoIndex || scopes[scope_index].run != index)
    return wrong_state("the scope was closed, or is of another run");
  return {};
}

Status Engine::State::check_place(const TaskSpec& spec, std::uint32_t& child) const {
  child = spec.worker ? spec.worker->value : kNoIndex;
  for (const TaskAccess& access : spec.accesses) {
    if (!access.only_at) continue;
    const std::uint32_t at = access.only_at->value;
    if (child == kNoIndex) child = at;
    if (child == at) continue;
    const auto name = [this](std::uint32_t c) {
      return c < scheduler.count() ? scheduler[c].path : fmt::format("child {}", c);
    };
    return Status::error(
        Code::kInvalidArgument, Reason::kNoEligibleChild,
        fmt::format("no child can run {}: one of its tensors lies at {} alone, but "
                    "it must run at {}",
                    task_text(described(spec)), name(at), name(child)));
  }
  if (child == kNoIndex) {
    if (scheduler.live_count(spec.kind) != 0) return {};
    return Status(no_child_error(described(spec), scheduler, path));
  }
  if (child >= scheduler.count())
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("there is no child {}: {} has {}", child, path, scheduler.count()));
  if (scheduler.live(child) && can_run(scheduler[child].traits.kind, spec.kind)) return {};
  return Status(fixed_child_error(described(spec), child, scheduler, path));
}

Status Engine::State::check_spec(const TaskSpec& spec) const {
  if (spec.accesses.size() > limits.accesses_per_task_max)
    return Status::error(
        Code::kInvalidArgument, Reason::kTooLarge,
        fmt::format("{} has {} tensors; at most {} are possible", task_text(described(spec)),
                    spec.accesses.size(), limits.accesses_per_task_max));
  if (spec.deadline_ns != 0 && now >= spec.deadline_ns)
    return Status(deadline_error(described(spec), Phase::kQueued, 0, path));
  return {};
}

Status Engine::State::check_room(std::span<const TaskSpec> specs) {
  std::uint64_t bytes = 0;
  std::uint64_t access_count = 0;
  for (const TaskSpec& spec : specs) {
    bytes += spec.body.size();
    access_count += spec.accesses.size();
  }
  lacking = Lacking::kTasks;
  if (specs.size() > tasks.max() || bytes > tasks.bodies().bytes_max() ||
      access_count > accesses.max())
    lacking = Lacking::kForEver;
  if (specs.size() > tasks.room())
    return exhausted(fmt::format("all {} task slots are used", tasks.max()), runs, scopes);
  if (!tasks.bodies().fits(bytes))
    return exhausted(fmt::format("{} more bytes of arguments do not fit: {} of {} are used", bytes,
                                 tasks.bodies().used_bytes(), tasks.bodies().bytes_max()),
                     runs, scopes);
  if (access_count > accesses.room())
    return exhausted(fmt::format("all {} tensor uses are taken", accesses.max()), runs, scopes);
  lacking = Lacking::kNothing;
  return {};
}

Status Engine::State::out_of_edges() {
  lacking = Lacking::kTasks;
  return exhausted(fmt::format("all {} dependencies are taken", tasks.edges_max()), runs, scopes);
}

// --- building -----------------------------------------------------------------------------------
std::uint32_t Engine::State::build(const TaskSpec& spec, std::uint32_t child) {
  const std::uint32_t index = tasks.allocate();
  ECHELON_CHECK(index != kNoIndex);
  const std::uint32_t run = runs.find(spec.run);
  Task& task = tasks[index];
  task.kind = spec.kind;
  task.run = run;
  task.scope = spec.scope == 0 ? kNoIndex : scopes.find(spec.scope);
  task.child = child;
  task.flags = child == kNoIndex ? 0 : kFixed;
  task.slot = spec.slot.value;
  task.callable = spec.callable.data();
  task.callable_bytes = static_cast<std::uint32_t>(spec.callable.size());
  task.since_ns = now;
  task.deadline_ns = spec.deadline_ns;
  const MonotonicNs inherited = runs[run].deadline_ns;
  if (inherited != 0 && (task.deadline_ns == 0 || inherited < task.deadline_ns))
    task.deadline_ns = inherited;
  tasks.set_body(task, spec.body);
  return index;
}

/// An edge from `before`, or what its failure means. False: no edge is left.
bool Engine::State::link_before(std::uint32_t before, std::uint32_t index, bool data,
                                SharedError& poison) {
  const Task& earlier = tasks[before];
  const bool ended_badly = has_ended(earlier.state) && earlier.state != TaskState::kDone;
  if (ended_badly && data && poison == nullptr) poison = tasks.error(earlier);
  if (earlier.has(kReleased)) return true;
  return tasks.add_edge(before, index, data && !has_ended(earlier.state));
}

bool Engine::State::link_after(std::uint32_t index, const TaskSpec& spec, SharedError& poison) {
  for (const TaskId id : spec.after) {
    const std::uint32_t before = tasks.find(id);
    if (before != kNoIndex && !link_before(before, index, true, poison)) return false;
  }
  return true;
}

bool Engine::State::link(std::uint32_t index, const TaskSpec& spec, SharedError& poison) {
  const std::uint32_t run = tasks[index].run;
  bool room = true;
  for (const TaskAccess& access : spec.accesses) {
    places.push_back(accesses.locate(access.desc, access.tag));
    accesses.for_each_before(places.back(), access.tag, [&](const AccessRecord& record, bool data) {
      // What failed in another run is that run's affair, once it has failed.
      const Task& earlier = tasks[record.task];
      const bool matters = data && (earlier.run == run || !has_ended(earlier.state));
      room = link_before(record.task, index, matters, poison);
      return room;
    });
    if (!room) return false;
  }
  return link_after(index, spec, poison);
}

void Engine::State::abandon_places() {
  for (const AccessMap::Place& place : places) accesses.abandon(place);
}

/// As if it had never been: nobody has heard of it, and it has no accesses.
void Engine::State::abandon(std::uint32_t index) {
  Task& task = tasks[index];
  tasks.move(task, TaskState::kCancelled);
  tasks.free_body(task);
  task.run = kNoIndex;
  task.flags |= kPropagated;
  if (task.pending == 0)
    tasks.free(index);
  else
    ++unreleased;  // its record goes when those before it have ended
}

void Engine::State::count_in(std::uint32_t index, const TaskSpec& spec) {
  Task& task = tasks[index];
  Run& run = runs[task.run];
  task.run_prev = run.last_task;
  if (run.last_task == kNoIndex)
    run.first_task = index;
  else
    tasks[run.last_task].run_next = index;
  run.last_task = index;
  ++run.live;
  ++run.tasks;
  ++unended;
  ++counters.submitted;
  if (task.scope != kNoIndex) scopes.count(task.scope, +1);
  const bool own_is_sooner =
      spec.deadline_ns != 0 && (run.deadline_ns == 0 || spec.deadline_ns < run.deadline_ns);
  if (own_is_sooner) timers.set({index, false}, spec.deadline_ns);
}

/// `place`: of its first access, as link() has located it.
void Engine::State::enter_accesses(std::uint32_t index, const TaskSpec& spec,
                                   const AccessMap::Place* place) {
  Task& task = tasks[index];
  const auto may_cut = [&](const AccessRecord& record) {
    const Task& older = tasks[record.task];
    if (task.group != kNoIndex && older.group == task.group) return record.task == index;
    // What another run writes stays its own affair, should it fail, until all is written anew.
    return !writes(record.tag) || older.run == task.run || older.run == kNoIndex;
  };
  const auto may_cut_anew = [&](const AccessRecord& record) {
    return task.group == kNoIndex || tasks[record.task].group != task.group || record.task == index;
  };
  for (const TaskAccess& access : spec.accesses) {
    const AccessMap::Place& at = *place++;
    if (at.entry == kNoIndex && access.pin == 0) continue;
    AccessRecord record;
    record.task = index;
    record.tag = access.tag;
    record.pin = access.pin;
    record.in_group = task.group != kNoIndex;
    if (access.tag == Tag::kOutput)
      accesses.add(at, record, task.first_access, may_cut_anew);
    else
      accesses.add(at, record, task.first_access, may_cut);
  }
}

void Engine::State::publish(std::uint32_t index, const SharedError& poison) {
  Task& task = tasks[index];
  if (poison != nullptr)
    end_task(index, TaskState::kSkipped, poison);
  else if (task.pending != 0)
    tasks.move(task, TaskState::kWaiting);
  else
    make_ready(index);
}

// --- the calls ----------------------------------------------------------------------------------
Result<TaskId> Engine::submit(const TaskSpec& spec, MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  std::uint32_t child = kNoIndex;
  ECHELON_RETURN_IF_ERROR(s.check_run(spec.run, spec.scope));
  ECHELON_RETURN_IF_ERROR(s.check_spec(spec));
  ECHELON_RETURN_IF_ERROR(s.check_place(spec, child));
  ECHELON_RETURN_IF_ERROR(s.check_room({&spec, 1}));
  const std::uint32_t index = s.build(spec, child);
  const TaskId id = s.tasks.id(index);
  SharedError poison;
  s.places.clear();
  if (!s.link(index, spec, poison)) {
    s.abandon(index);
    s.abandon_places();
    return s.out_of_edges();
  }
  s.count_in(index, spec);
  s.enter_accesses(index, spec, s.places.data());
  s.publish(index, poison);
  s.close_input();
  return id;
}

Status Engine::State::check_group(std::span<const TaskSpec> specs) {
  std::vector<GroupQueue::Want> wants;
  for (const TaskSpec& spec : specs) {
    if (spec.run != specs.front().run)
      return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                           "the tasks of a group must be of one run");
    std::uint32_t child = kNoIndex;
    ECHELON_RETURN_IF_ERROR(check_run(spec.run, spec.scope));
    ECHELON_RETURN_IF_ERROR(check_spec(spec));
    ECHELON_RETURN_IF_ERROR(check_place(spec, child));
    wants.push_back({spec.kind, child});
  }
  if (groups.feasible(wants)) return check_room(specs);
  return Status::error(Code::kInvalidArgument, Reason::kNoEligibleChild,
                       fmt::format("a group of {} tasks needs a live child of its own for each; {} "
                                   "can run the first ({} task) and the places asked for differ "
                                   "from what there is",
                                   specs.size(), scheduler.live_count(specs.front().kind),
                                   to_string(specs.front().kind)));
}

Status Engine::submit_group(std::span<const TaskSpec> specs, std::span<TaskId> ids,
                            MonotonicNs now) {
  State& s = *state_;
  s.advance(now);
  ECHELON_CHECK(specs.size() == ids.size(), specs.size(), ids.size());
  if (specs.empty()) return {};
  ECHELON_RETURN_IF_ERROR(s.check_group(specs));
  const std::uint32_t group = s.groups.make();
  SharedError poison;
  s.linked.clear();
  s.places.clear();
  bool room = true;
  for (const TaskSpec& spec : specs) {
    std::uint32_t child = kNoIndex;
    ECHELON_CHECK(s.check_place(spec, child).ok());
    const std::uint32_t index = s.build(spec, child);
    s.linked.push_back(index);
    if (!(room = s.link(index, spec, poison))) break;
  }
  if (!room) {
    for (const std::uint32_t index : s.linked) s.abandon(index);
    s.abandon_places();
    s.groups.discard(group);
    return s.out_of_edges();
  }
  for (const std::uint32_t index : s.linked) s.groups.add_member(group, index);
  const AccessMap::Place* place = s.places.data();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    ids[i] = s.tasks.id(s.linked[i]);
    s.count_in(s.linked[i], specs[i]);
    s.enter_accesses(s.linked[i], specs[i], place);
    place += specs[i].accesses.size();
  }
  for (const std::uint32_t index : s.linked) s.publish(index, poison);
  s.close_input();
  return {};
}

}  // namespace echelon
