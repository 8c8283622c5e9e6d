// SPDX-License-Identifier: Apache-2.0
//
// Frames: what travels in the rings of a channel (docs/design/0003-channel.md). 64-byte aligned,
// never wrapping. The stamp is stored last and polled in place, so that a hot consumer touches one
// line.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace echelon {

enum class FrameKind : std::uint16_t {
  kNone = 0,
  kSkip = 1,  // fills the end of a ring
  // task ring, down
  kSubTask = 2,
  kOrchTask = 3,
  kChipTask = 4,
  kCopyTask = 5,
  kReleaseBuffer = 6,  // task = the BufferId; no completion. 0: only take in what was pushed
  // completion ring, up
  kCompletion = 16,
  // control rings
  kPing = 32,          // down; task = a number that the pong repeats
  kPong = 33,          // up
  kCancel = 34,        // down; task = whose callable should stop
  kShutdown = 35,      // down
  kStatsRequest = 36,  // down; task = a number that the reply repeats
  kStatsReply = 37,    // up; body = the child's node tree (observe/node_stats.h)
  kStackRequest = 38,  // down: the executor's stack, into the last words
  kStackReply = 39,    // up; body = text
  // bodies: process/registration_codec.h; task = a number that the reply repeats
  kRegister = 40,         // down; a callable for this child, or for what is below it
  kRegisterReply = 41,    // up; how it went, there and below
  kUnregister = 42,       // down; slot = what to forget
  kUnregisterReply = 43,  // up; forgotten, there and below
  kAnnounce = 44,         // up; before a child is ready: what it says of itself
  // lanes alone (remote/wire.h)
  kHello = 64,    // both ways, first on a health lane: protocol versions
  kGoodbye = 65,  // both ways, last: why, an encoded ErrorInfo
};

/// kFlagPush: descriptors went over the edge before this frame; take them in before its tensors are
/// used or handed on (a recalled frame's, too).
enum FrameFlags : std::uint16_t {
  kFlagSpill = 1,  // the body is SpillData: the real one is in a memfd sent over the edge's socket
  kFlagError = 2,  // completion: the body is an encoded ErrorInfo, not a result
  kFlagPush = 4,   // task: see above
  kFlagMore = 8,   // lanes alone: the body goes on in the next frame
};

struct FrameData {
  std::atomic<std::uint32_t> stamp;  // publication; the frame's sequence number, never 0
  std::atomic<std::uint32_t> claim;  // task ring: Claim
  std::uint32_t bytes;               // body bytes
  std::uint16_t kind;
  std::uint16_t flags;
  std::uint64_t task;
  std::uint32_t slot;  // callable slot
  std::uint32_t reserved;
  std::uint64_t deadline;  // CLOCK_MONOTONIC ns, 0 none
  // body follows
};
static_assert(sizeof(FrameData) == 40);
static_assert(offsetof(FrameData, stamp) == 0 && offsetof(FrameData, claim) == 4);
static_assert(offsetof(FrameData, task) == 16 && offsetof(FrameData, deadline) == 32);

enum class Claim : std::uint32_t { kQueued = 1, kTaken = 2, kRecalled = 3 };

inline constexpr std::size_t kFrameAlign = 64;
inline constexpr std::size_t kFrameHeaderBytes = sizeof(FrameData);

constexpr std::size_t frame_bytes(std::size_t body_bytes) {
  return (kFrameHeaderBytes + body_bytes + kFrameAlign - 1) / kFrameAlign * kFrameAlign;
}

/// A header as copied out of shared memory; everything after that is validated on the copy.
struct FrameHeader {
  std::uint32_t bytes = 0;
  FrameKind kind = FrameKind::kNone;
  std::uint16_t flags = 0;
  std::uint64_t task = 0;
  std::uint32_t slot = 0;
  std::uint64_t deadline = 0;
};

}  // namespace echelon
