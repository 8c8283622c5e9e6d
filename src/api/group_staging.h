// SPDX-License-Identifier: Apache-2.0
//
// GroupStaging: a group of tasks of which some are remote Workers' and were given tensors of this
// host, with Stage::kCopy: each member is staged like a task of its own (staging.h), and the group
// is launched together when all copies down are there.
//
// Threads: the one that runs the orchestration function. Blocking: as Staging.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <echelon/orchestrator.h>

#include "api/staging.h"

namespace echelon::detail {

class GroupStaging {
 public:
  /// nullopt: no member needs staging. Settles where each runs where that is open. Throws
  /// InvalidArgument where there are not enough Workers.
  static std::optional<GroupStaging> of(RunContext& run, TaskKind kind, std::span<const Args> args,
                                        const GroupOptions& options);

  /// Submits all of it; handles as from Staging::submit().
  std::vector<TaskHandle> submit(const CallableRef& ref, std::span<const Args> args);

 private:
  GroupStaging(RunContext& run, GroupOptions options, std::vector<bool> staged)
      : run_(run), options_(std::move(options)), staged_(std::move(staged)) {}

  void check_apart(std::span<const Args> args) const;

  RunContext& run_;
  GroupOptions options_;      // with a Worker for each
  std::vector<bool> staged_;  // by member
};

}  // namespace echelon::detail
