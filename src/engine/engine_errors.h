// SPDX-License-Identifier: Apache-2.0
//
// The texts of the engine's own errors, each with what was asked, what stands in the way, and
// where.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/run_table.h"
#include "engine/scheduler.h"

namespace echelon {

/// "1.2 s", "35 ms", "8 us".
std::string duration_text(std::uint64_t nanoseconds);

/// The callable's name in quotes, or what the task is.
std::string task_text(const Task& task);

using SharedError = std::shared_ptr<const ErrorInfo>;

/// When the phase began that a task is in: since it was dispatched, and never before its child had
/// ended what stood ahead of it.
MonotonicNs phase_began_ns(const Task& task, const Scheduler& scheduler);

/// A deadline has passed while the task was `phase`; at `path`.
SharedError deadline_error(const Task& task, Phase phase, std::uint64_t time_in_phase_ns,
                           const std::string& path);

/// A run's deadline has passed: what was still running where.
SharedError run_deadline_error(const Run& run, const TaskTable& tasks, const Scheduler& scheduler,
                               const std::string& path, MonotonicNs now);

/// A task was skipped: it depends on what failed with `cause`.
SharedError skipped_error(const Task& task, const SharedError& cause, const std::string& path);

/// A child died with the task taken.
SharedError child_lost_error(const Task& task, const Child& child, std::uint64_t time_in_phase_ns);

/// No live child can run `task`: why not, child by child.
SharedError no_child_error(const Task& task, const Scheduler& scheduler, const std::string& path);
/// The one child that it must run at cannot.
SharedError fixed_child_error(const Task& task, std::uint32_t child, const Scheduler& scheduler,
                              const std::string& path);

/// Fills in what a child left empty.
SharedError completed_error(const Status& status, const Task& task, const Child& child,
                            std::uint64_t time_in_phase_ns);

/// Some bounded resource is used up; names who holds most of the tasks.
Status exhausted(const std::string& what, const RunTable& runs, const ScopeTable& scopes);

}  // namespace echelon
