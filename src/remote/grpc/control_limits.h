// SPDX-License-Identifier: Apache-2.0
//
// Sizes and times that both ends of a session's call keep to; proto/echelon/v1/session.proto names
// the sizes.
#pragma once

#include <chrono>
#include <cstddef>

#include "base/error_codec.h"
#include "remote/manifest.h"

namespace echelon {

inline constexpr std::size_t kRequestBytesMax = kManifestBytesMax + (std::size_t{64} << 10);
inline constexpr std::size_t kEventBytesMax = std::size_t{2} << 20;
static_assert(kErrorBytesMax < kEventBytesMax);
inline constexpr std::size_t kEndWhyBytesMax = 4096;

/// A connection on which nothing comes is asked so often, and given up after so long without an
/// answer: what finds a host that has gone without a word. Lanes find it sooner.
inline constexpr std::chrono::milliseconds kKeepaliveEvery{10'000};
inline constexpr std::chrono::milliseconds kKeepalivePatience{5'000};

}  // namespace echelon
