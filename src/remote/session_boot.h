// SPDX-License-Identifier: Apache-2.0
//
// What a daemon and a session's process say to each other as it starts: down, the manifest, as a
// sealed memory file (ChildBoot::payload) in a transport's wire form; up, before it is ready, where
// its lanes listen (ControlServer::announce).
//
//   announcement   u8 version (1), u8 zero, u16 address bytes, u16 token bytes, u16 zero,
//                  u64 pool, u64 memory bytes, address, token
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "process/child_boot.h"
#include "process/payload.h"
#include "remote/manifest.h"

namespace echelon {

inline constexpr std::size_t kSessionAddressBytesMax = 1024;
inline constexpr std::size_t kSessionTokenBytesMax = 256;

/// The manifest, for RemoteTransport::decode_manifest(). Errors: kBadArgument (there is none: no
/// daemon started this process), kBadFrame, kSystem.
Result<std::shared_ptr<const Payload>> take_manifest(ChildBoot& boot);

/// Address, token, pool and memory; the rest is the daemon's to fill in. Errors: kTooLarge,
/// kBadArgument for an empty address or token.
Result<std::vector<std::byte>> encode_announcement(const SessionReady& ready);
/// Errors: kBadFrame.
Result<SessionReady> decode_announcement(std::span<const std::byte> bytes);

}  // namespace echelon
