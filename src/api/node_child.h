// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "api/node.h"
#include "base/fd.h"
#include "process/local_endpoint.h"
#include "remote/remote_start.h"

namespace echelon::detail {

/// Unfinished tasks of one remote child, sent or waiting here.
inline constexpr std::uint32_t kRemoteWindow = 32;

/// A child as its Node holds it.
struct Node::Child {
  ChildPlan plan;
  Uid uid;
  std::string path;
  UniqueFd edge_end;  // the child's, until it is spawned
  std::unique_ptr<TreeChild> endpoint;
  LocalEndpoint* local = nullptr;     // the same, where it is a process of this machine
  RemoteEndpoint* remote = nullptr;   // the same, where it is a session on another host
  std::unique_ptr<SessionLink> link;  // with `remote`; after it, to end first
};

}  // namespace echelon::detail
