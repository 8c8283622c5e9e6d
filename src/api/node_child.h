// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "api/node.h"
#include "base/fd.h"
#include "process/local_endpoint.h"

namespace echelon::detail {

/// A child as its Node holds it.
struct Node::Child {
  ChildPlan plan;
  Uid uid;
  std::string path;
  UniqueFd edge_end;  // the child's, until it is spawned
  std::unique_ptr<LocalEndpoint> endpoint;
};

}  // namespace echelon::detail
