// SPDX-License-Identifier: Apache-2.0
//
// Tensors in the memory of remote Workers, as the node above them holds them, and where tasks may
// run that use them.
//
// Threads: safe. Blocking: allocate_remote(), a round trip; it drives the Worker meanwhile.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "api/node.h"
#include "api/tensor_state.h"
#include "engine/engine.h"

namespace echelon::detail {

/// Whether it lies in a remote Worker's memory.
bool is_remote(const Buffer& buffer);

/// A tensor in the memory of `worker`, which its session names. Given back when the last handle is
/// gone and the last task that uses it has ended. Throws InvalidArgument where `worker` is not
/// remote, ResourceExhausted with the sizes of a full pool, ChildLost.
Tensor allocate_remote(Node& node, ChildIndex worker, const Shape& shape, DType dtype, bool zeroed);

/// Where a task may run whose tensors lie on this host: not at a remote child, which does not reach
/// them, unless the task is a copy to or from there. Settles `worker` where that leaves a choice
/// that the engine would not know of. Errors: kBadArgument with what can be done instead.
Status settle_place(Node& node, TaskKind kind, std::span<const TaskAccess> accesses,
                    std::optional<ChildIndex>& worker);

}  // namespace echelon::detail
