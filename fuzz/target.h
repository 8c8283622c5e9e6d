// SPDX-License-Identifier: Apache-2.0
//
// Fuzz targets: one for each message that comes from another process or host. A target takes any
// bytes to the code that takes them from a peer, and to what follows a message that was accepted.
//
//   ./dev fuzz          libFuzzer on each of them (main.cc)
//   FuzzTargets.*       the seeds and mutations of them, in every build (smoke_test.cc)
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace echelon::fuzz {

using Bytes = std::span<const std::byte>;
using Seed = std::vector<std::byte>;

struct Target {
  const char* name;
  const char* about;
  /// Ends the process where something is wrong.
  void (*run)(Bytes input);
  /// Made by the encoders that peers use.
  std::vector<Seed> (*seeds)();
};

std::span<const Target> codec_targets();    // rings, sockets and what travels in frames
std::span<const Target> lane_targets();     // task, health and data lane, both ends
std::span<const Target> session_targets();  // protobuf, and a lane's batches

std::vector<Target> all_targets();
/// Also the one that is there to be found: `canary` crashes. nullptr: no such target.
const Target* find_target(std::string_view name);

// --- inputs of several messages: u16 bytes, then the message; the last takes what is left
Seed pack(const std::vector<Seed>& messages);
std::vector<Bytes> unpack(Bytes input);

inline Bytes bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline Seed seed_of(Bytes bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace echelon::fuzz
