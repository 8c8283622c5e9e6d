// SPDX-License-Identifier: Apache-2.0
//
// The processes below one, from /proc, and the processor time they have used.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/proc_text.h"

namespace echelon::cli {

/// `root` and all that descend from it, parents first, children by pid. Pure.
std::vector<ProcessStat> descendants(std::vector<ProcessStat> all, std::int64_t root);

/// The same of this machine's processes now, zombies left out.
std::vector<ProcessStat> process_tree(pid_t root);

/// Processor time of all threads of a process since it began, in nanoseconds; nullopt when it is
/// gone.
std::optional<std::uint64_t> cpu_time_ns(pid_t pid);

}  // namespace echelon::cli
