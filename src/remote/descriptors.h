// SPDX-License-Identifier: Apache-2.0
//
// How many descriptors this process may have, and has.
//
// Threads: safe. Blocking: reads /proc.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace echelon {

/// Kept from connections, for sessions, libraries, keys and logs; a quarter of the limit where that
/// is less.
inline constexpr std::uint64_t kDescriptorsKept = 64;
/// What a session needs of its daemon while it starts.
inline constexpr std::uint64_t kDescriptorsOfSession = 12;

inline constexpr std::string_view kDescriptorAdvice =
    "Raise the limit of open files (`ulimit -n`, LimitNOFILE= of a service), or look who connects";

/// RLIMIT_NOFILE.
std::uint64_t descriptor_limit();
/// As many as it may have: sessions take some each, and every connection one.
void raise_descriptor_limit();
/// Errors: kExhausted, with how many are in use, the limit, and what to do.
Status check_descriptors(std::uint64_t wanted);

}  // namespace echelon
