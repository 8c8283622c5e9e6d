// SPDX-License-Identifier: Apache-2.0
//
// The life of a session: a Worker whose parent is on another host. A daemon's spawner forks it;
// the daemon sees a child like any other, the parent sees its lanes
// (docs/design/0013-remote.md).
//
// Processes: the child, after its spawner's fork; returns its exit code.
#pragma once

#include <set>
#include <string>

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

/// `boot.payload` is the manifest (remote/session_boot.h).
int run_session(ChildBoot boot, const SessionPlace& place);

}  // namespace echelon::detail
