// SPDX-License-Identifier: Apache-2.0
//
// NodeInfo (what one process of the tree is and has done) as bytes: the answer to a statistics
// request on a control ring. Bounded and validated like everything that another process wrote.
//
//   u8 version (1), u8 level, u16 children, i64 pid, u64 tasks, u64 tasks_failed, i64 busy ns,
//   i64 up ns, u64 bytes_in, u64 bytes_out, u64 lost_wakeups, name, path, kind, state (each u32
//   bytes, then text), then the children in the same form.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <echelon/node_info.h>

#include "base/status.h"

namespace echelon {

/// Levels of a tree, leaves included: L6 down to sub-workers, and one to spare.
inline constexpr unsigned kNodeDepthMax = 8;
inline constexpr std::size_t kNodeChildrenMax = 4096;

std::vector<std::byte> encode_node(const NodeInfo& node);

/// Errors: kBadFrame, with what was wrong.
Result<NodeInfo> decode_node(std::span<const std::byte> bytes);

/// A line a node, indented by depth.
std::string describe_tree(const NodeInfo& root);

}  // namespace echelon
