// SPDX-License-Identifier: Apache-2.0
//
// The life of a session: a Worker whose parent is on another host. A daemon's spawner forks it, or
// has a runner become it where it is to run a language; the daemon sees a child like any other, the
// parent sees its lanes
// (docs/design/0013-remote.md).
//
// Processes: the child, after its spawner's fork, or the runner; returns its exit code.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/embedding.h>

#include "base/status.h"
#include "process/child_boot.h"
#include "remote/session_rules.h"
#include "remote/transport.h"

namespace echelon::detail {

/// Where a daemon's sessions listen for their lanes: the daemon's own address, on ports of their
/// own; and what their parents may bring along, also while they run.
struct SessionPlace {
  std::string daemon;
  Credentials credentials;
  std::set<AllowedCode> allowed;
};

/// Before a daemon starts. Errors: kBadArgument where its sessions could not listen beside it, as a
/// socket's path would be too long.
Status check_lanes_address(const std::string& daemon);

/// As arguments of a runner's command line, and back. Errors: kBadArgument.
std::vector<std::string> place_arguments(const SessionPlace& place);
Result<SessionPlace> place_from(std::span<const std::string> arguments);

/// `boot.payload` is the manifest (remote/session_boot.h). `language` may be nullptr; otherwise the
/// calling thread is in it, and is not when this returns.
int run_session(ChildBoot boot, const SessionPlace& place,
                std::shared_ptr<const embedding::Language> language = nullptr);

}  // namespace echelon::detail
