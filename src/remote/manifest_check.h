// SPDX-License-Identifier: Apache-2.0
//
// What holds of every manifest, whoever wrote it: versions, bounds, digests. What a daemon allows
// is the daemon's (remote/session_rules.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "remote/manifest.h"

namespace echelon {

inline constexpr std::size_t kManifestPathBytesMax = 4096;
inline constexpr std::size_t kManifestNameBytesMax = 255;
inline constexpr std::size_t kManifestDriverBytesMax = 64;
inline constexpr std::uint32_t kManifestSubWorkersMax = 4096;
inline constexpr std::size_t kManifestChipsMax = 256;
inline constexpr std::size_t kManifestLibrariesMax = 1024;
/// Of one parent.
inline constexpr std::size_t kManifestRemotesMax = 256;
inline constexpr std::size_t kManifestAddressBytesMax = 1024;
inline constexpr std::int32_t kSessionLevelMin = 3;
inline constexpr std::int32_t kSessionLevelMax = 5;
/// Below a session of the highest level, down to the lowest.
inline constexpr int kManifestRemoteLevelsMax = kSessionLevelMax - kSessionLevelMin;
inline constexpr std::chrono::nanoseconds kSessionPatienceMax = std::chrono::hours(24);
inline constexpr std::chrono::nanoseconds kSessionPatienceMin = std::chrono::milliseconds(10);
inline constexpr std::chrono::nanoseconds kStartDeadlineMin = std::chrono::milliseconds(1);

/// Before anything else is read. Errors: kBadArgument (Code::kUnimplemented) naming both versions.
Status check_protocol(std::uint32_t major, std::uint32_t minor);

/// Everything else. Errors: kBadArgument, kTooLarge; each says what was given and what is allowed.
/// A payload that its digest does not match is among them. Blocking: hashes the payloads.
Status check_manifest(const SessionManifest& manifest);

}  // namespace echelon
