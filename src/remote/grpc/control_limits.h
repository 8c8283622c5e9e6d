// SPDX-License-Identifier: Apache-2.0
//
// Sizes and times that both ends of a session's call keep to; proto/echelon/v1/session.proto names
// the sizes.
#pragma once

#include <chrono>
#include <cstddef>

#include "base/error_codec.h"
#include "remote/grpc/manifest_pieces.h"
#include "remote/manifest.h"
#include "remote/manifest_check.h"

namespace echelon {

inline constexpr std::size_t kRequestBytesMax = kManifestPieceBytesMax + (std::size_t{64} << 10);
inline constexpr std::size_t kEventBytesMax = std::size_t{2} << 20;
static_assert(kErrorBytesMax < kEventBytesMax);
inline constexpr std::size_t kEndWhyBytesMax = 4096;

/// A daemon asks a connection on which nothing comes so often, and waits for as long as any lease
/// may be: a parent that has gone without a word is found by its session, whose end ends the call.
inline constexpr std::chrono::milliseconds kDaemonKeepaliveEvery{10'000};
inline constexpr auto kDaemonKeepalivePatience =
    std::chrono::duration_cast<std::chrono::milliseconds>(kSessionPatienceMax);
/// A connection without a call is closed after this.
inline constexpr std::chrono::milliseconds kConnectionIdleMax{60'000};
/// From its first byte to TLS and the first frame of HTTP/2.
inline constexpr std::chrono::milliseconds kHandshakeMax{10'000};

}  // namespace echelon
