// SPDX-License-Identifier: Apache-2.0
//
// The lives of the two forked kinds of children: sub-workers and next-level Workers. (Chips are
// exec'd: src/chip/chip_main.cc.)
//
// Processes: the child, after its spawner's fork; returns its exit code.
#pragma once

#include <functional>

#include "api/callables.h"
#include "api/node.h"
#include "process/child_boot.h"

namespace echelon::detail {

/// `language` may be nullptr.
int run_sub_worker(ChildBoot boot, const CallableTable& callables,
                   const embedding::Language* language);

/// `options` makes the node's options for the path it was given; called in the child.
int run_next_level_worker(
    ChildBoot boot, const std::function<Result<NodeOptions>(const std::string& path)>& options);

}  // namespace echelon::detail
