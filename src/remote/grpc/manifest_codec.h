// SPDX-License-Identifier: Apache-2.0
//
// Manifests and what a session says of itself, to and from proto/echelon/v1/session.proto.
//
// Threads: safe. Blocking: decoding hashes the payloads.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/status.h"
#include "remote/manifest.h"

namespace echelon::v1 {
class SessionManifest;
class SessionReady;
}  // namespace echelon::v1

namespace echelon {

void to_wire(const SessionManifest& manifest, v1::SessionManifest& wire);
/// Version, bounds and digests are checked (remote/manifest_check.h). Errors: its, and kTooLarge.
Result<SessionManifest> from_wire(const v1::SessionManifest& wire);

void to_wire(const SessionReady& ready, v1::SessionReady& wire);
/// Errors: kBadFrame, kBadArgument for another major version.
Result<SessionReady> from_wire(const v1::SessionReady& wire);

std::vector<std::byte> encode_manifest(const SessionManifest& manifest);
/// Errors: kTooLarge; kBadFrame for what is no manifest; from_wire()'s.
Result<SessionManifest> decode_manifest(std::span<const std::byte> bytes);

}  // namespace echelon
