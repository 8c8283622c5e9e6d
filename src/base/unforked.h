// SPDX-License-Identifier: Apache-2.0
//
// Memory that forked children do not get (MADV_DONTFORK). Left alone, such a range is a hole in the
// child, where the child's own next mapping may land: a stray use of an inherited pointer would
// then damage that instead of ending in a signal. So the ranges are remembered, and a child closes
// the holes with memory that nobody may touch.
//
// Threads: safe, lock-free. Fork: that is what it is for.
#pragma once

#include <cstddef>

#include "base/status.h"

namespace echelon {

/// Ranges remembered at a time; more are excluded all the same, but leave holes.
inline constexpr std::size_t kUnforkedRangesMax = 8192;

/// Excludes whole pages from later forks, until they are unmapped. Errors: kSystem.
Status exclude_from_forks(void* pages, std::size_t bytes);
/// Later forks have these pages again. Errors: kSystem.
Status include_in_forks(void* pages, std::size_t bytes);
/// Forgets a range that is about to be unmapped.
void forget_excluded(void* pages);
/// In a forked child with one thread: closes the holes. Takes no lock and allocates nothing.
void guard_excluded_ranges();

}  // namespace echelon
