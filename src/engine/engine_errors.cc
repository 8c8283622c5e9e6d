// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_errors.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace echelon {

namespace {

constexpr std::uint32_t kListedMax = 8;  // tasks or children named in one message

std::string_view what_it_runs(ChildKind kind) {
  switch (kind) {
    case ChildKind::kSub:
      return "sub-worker tasks";
    case ChildKind::kChip:
      return "chip tasks";
    case ChildKind::kWorker:
      return "orchestration tasks";
  }
  return "nothing";
}

std::string why_not(const Child& child, TaskKind kind) {
  if (!can_run(child.traits.kind, kind))
    return fmt::format("{} runs {}", child.traits.name, what_it_runs(child.traits.kind));
  if (child.health == Health::kLive) return fmt::format("{} is busy", child.traits.name);
  if (child.health == Health::kEnding)
    return fmt::format("{} is being ended: {}", child.traits.name,
                       child.why.ok() ? "" : child.why.info().message);
  return fmt::format("{} is down: {}", child.traits.name,
                     child.why.ok() ? "" : child.why.info().message);
}

ErrorInfo base(const Task& task, Code code, Reason reason) {
  ErrorInfo info;
  info.code = code;
  info.reason = reason;
  info.callable = std::string(task.name());
  return info;
}

SharedError share(ErrorInfo info) {
  return std::make_shared<const ErrorInfo>(std::move(info));
}

}  // namespace

std::string duration_text(std::uint64_t nanoseconds) {
  if (nanoseconds >= 1'000'000'000)
    return fmt::format("{:.1f} s", static_cast<double>(nanoseconds) / 1e9);
  if (nanoseconds >= 1'000'000) return fmt::format("{} ms", nanoseconds / 1'000'000);
  return fmt::format("{} us", nanoseconds / 1'000);
}

std::string task_text(const Task& task) {
  if (task.callable_bytes != 0) return fmt::format("'{}'", task.name());
  return fmt::format("a {} task", to_string(task.kind));
}

MonotonicNs phase_began_ns(const Task& task, const Scheduler& scheduler) {
  if (!task.has(kInFlight)) return task.since_ns;
  return std::max(task.since_ns, scheduler[task.child].last_completion_ns);
}

SharedError deadline_error(const Task& task, Phase phase, std::uint64_t time_in_phase_ns,
                           const std::string& path) {
  ErrorInfo info = base(task, Code::kDeadlineExceeded, Reason::kDeadline);
  info.cause = Cause::kDeadline;
  info.phase = phase;
  info.time_in_phase = std::chrono::nanoseconds(time_in_phase_ns);
  info.path = path;
  info.message =
      phase == Phase::kQueued
          ? fmt::format("the deadline of {} passed before it could start", task_text(task))
          : fmt::format("the deadline of {} passed while it was running at {}", task_text(task),
                        path);
  return share(std::move(info));
}

SharedError run_deadline_error(const Run& run, const TaskTable& tasks, const Scheduler& scheduler,
                               const std::string& path, MonotonicNs now) {
  std::string list;
  std::uint32_t in_flight = 0;
  std::uint32_t queued = 0;
  for (std::uint32_t i = run.first_task; i != kNoIndex; i = tasks[i].run_next) {
    const Task& task = tasks[i];
    if (has_ended(task.state)) continue;
    if (!task.has(kInFlight)) {
      ++queued;
      continue;
    }
    if (++in_flight > kListedMax) continue;
    const Child& child = scheduler[task.child];
    const bool taken = child.endpoint->progress(tasks.id(i)) == Progress::kTaken;
    const MonotonicNs began = taken ? phase_began_ns(task, scheduler) : task.since_ns;
    list +=
        fmt::format("{}{} at {} ({} for {})", list.empty() ? "" : ", ", task_text(task), child.path,
                    taken ? "running" : "queued", duration_text(now > began ? now - began : 0));
  }
  ErrorInfo info;
  info.code = Code::kDeadlineExceeded;
  info.reason = Reason::kDeadline;
  info.cause = Cause::kDeadline;
  info.phase = in_flight != 0 ? Phase::kRunning : Phase::kQueued;
  info.path = path;
  info.message = "the deadline of the run passed; ";
  info.message += in_flight == 0 ? "nothing was running" : "still running: " + list;
  if (in_flight > kListedMax) info.message += fmt::format(" and {} more", in_flight - kListedMax);
  if (queued != 0)
    info.message += fmt::format("; {} {} waiting", queued, queued == 1 ? "task was" : "tasks were");
  return share(std::move(info));
}

SharedError skipped_error(const Task& task, const SharedError& cause, const std::string& path) {
  ErrorInfo info = base(task, Code::kAborted, Reason::kPoisoned);
  info.cause = Cause::kDependency;
  info.phase = Phase::kQueued;
  info.path = path;
  const std::string failed =
      cause->callable.empty() ? "a task" : fmt::format("'{}'", cause->callable);
  info.message =
      fmt::format("{} was not run, because it depends on {}, which {} at {}: {}", task_text(task),
                  failed, cause->reason == Reason::kCancelled ? "was cancelled" : "failed",
                  cause->path.empty() ? path : cause->path, cause->message);
  return share(std::move(info));
}

SharedError child_lost_error(const Task& task, const Child& child, std::uint64_t time_in_phase_ns) {
  ErrorInfo info = child.why.ok() ? ErrorInfo{} : child.why.info();
  if (info.code == Code::kUnknown) info.code = Code::kUnavailable;
  if (info.reason == Reason::kNone) info.reason = Reason::kChildDied;
  if (info.cause == Cause::kNone) info.cause = Cause::kPeerLost;
  info.phase = Phase::kRunning;
  info.time_in_phase = std::chrono::nanoseconds(time_in_phase_ns);
  info.callable = std::string(task.name());
  if (info.path.empty()) info.path = child.path;
  if (info.message.empty()) info.message = fmt::format("{} ended", child.path);
  return share(std::move(info));
}

SharedError no_child_error(const Task& task, const Scheduler& scheduler, const std::string& path) {
  const std::uint32_t count = scheduler.count();
  bool once = false;  // some child could have, and is down now: a loss, not a wrong call
  for (std::uint32_t i = 0; i < count; ++i) {
    once = once || can_run(scheduler[i].traits.kind, task.kind);
  }
  ErrorInfo info =
      once || count == 0
          ? base(task, once ? Code::kUnavailable : Code::kInvalidArgument, Reason::kNoEligibleChild)
          : base(task, Code::kInvalidArgument, Reason::kWrongKind);
  info.phase = Phase::kQueued;
  info.path = path;
  info.message = fmt::format("no {}child of {} can run {} ({} task)", once ? "live " : "", path,
                             task_text(task), to_string(task.kind));
  if (count == 0) info.message += ": it has no children";
  for (std::uint32_t i = 0; i < std::min(count, kListedMax); ++i) {
    const Child& child = scheduler[i];
    info.message += fmt::format("{}{}", i == 0 ? ": " : "; ", why_not(child, task.kind));
    if (info.cause == Cause::kNone && !child.why.ok()) {
      info.cause = child.why.info().cause;
      info.signal = child.why.info().signal;
      info.exit_code = child.why.info().exit_code;
    }
  }
  if (count > kListedMax) info.message += fmt::format("; and {} more", count - kListedMax);
  return share(std::move(info));
}

SharedError fixed_child_error(const Task& task, std::uint32_t child, const Scheduler& scheduler,
                              const std::string& path) {
  const Child& at = scheduler[child];
  ErrorInfo info = can_run(at.traits.kind, task.kind)
                       ? base(task, Code::kUnavailable, Reason::kNoEligibleChild)
                       : base(task, Code::kInvalidArgument, Reason::kWrongKind);
  info.phase = Phase::kQueued;
  info.path = path;
  if (!at.why.ok()) info.cause = at.why.info().cause;
  info.message = fmt::format("{} must run at {}, which cannot run it: {}", task_text(task), at.path,
                             why_not(at, task.kind));
  return share(std::move(info));
}

SharedError completed_error(const Status& status, const Task& task, const Child& child,
                            std::uint64_t time_in_phase_ns) {
  const ErrorInfo& given = status.info();
  if (!given.path.empty() && !given.callable.empty() && given.phase != Phase::kNone &&
      given.time_in_phase.count() != 0)
    return status.shared_info();
  ErrorInfo info = given;
  if (info.path.empty()) info.path = child.path;
  if (info.callable.empty()) info.callable = std::string(task.name());
  if (info.phase == Phase::kNone) info.phase = Phase::kRunning;
  if (info.time_in_phase.count() == 0)
    info.time_in_phase = std::chrono::nanoseconds(time_in_phase_ns);
  return share(std::move(info));
}

Status exhausted(const std::string& what, const RunTable& runs, const ScopeTable& scopes) {
  std::string holder = "nothing";
  std::uint32_t most = 0;
  for (std::uint32_t i = 0; i < runs.made(); ++i) {
    const Run& run = runs[i];
    if (!run.in_use || run.live <= most) continue;
    most = run.live;
    holder = fmt::format("run {}", run.token);
  }
  // A scope is the better name, where one holds most of that run's tasks.
  std::uint32_t most_in_scope = most / 2;
  for (std::uint32_t i = 0; i < scopes.made(); ++i) {
    const Scope& scope = scopes[i];
    if (scope.run == kNoIndex || scope.own_live <= most_in_scope) continue;
    most_in_scope = most = scope.own_live;
    holder = fmt::format("scope '{}'", scope.name);
  }
  if (most == 0) {
    return Status::error(
        Code::kResourceExhausted, Reason::kExhausted,
        fmt::format("{}; no task is in flight: tasks with results, and those that failed, are kept "
                    "until their run ends, and scopes until they are closed",
                    what));
  }
  return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                       fmt::format("{}; most is held by {} ({} {} not ended)", what, holder, most,
                                   most == 1 ? "task" : "tasks"));
}

}  // namespace echelon
