// SPDX-License-Identifier: Apache-2.0
//
// Pushing descriptors over a tree edge's SEQPACKET socket: a pool's table, its segments, a spilled
// body. Whoever sends a handle (or a frame with a spill) first sends what it needs, once; the
// receiver takes it when it meets something unknown. No request, no wait.
//
//   u32 magic, u16 kind, u16 zero, u64 issuer, u64 index, u64 bytes = 32 bytes, with one descriptor
//
// Threads: one sender and one receiver at a time for each end. Blocking: only where `wait` says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/syscall.h"
#include "shm/pool.h"

namespace echelon {

enum class PushKind : std::uint16_t {
  kPoolTable = 1,    // index 0
  kPoolSegment = 2,  // index: the segment's
  kSpill = 3,        // index: the spill's id
  kChipImage = 4,    // index: the callable slot (chip/image_push.h)
  kPayload = 5,      // index: the serial of what it belongs to (process/payload.h)
};

struct PoolPush {
  PushKind kind = PushKind::kPoolTable;
  Uid issuer;
  std::uint64_t index = 0;
  std::uint64_t bytes = 0;
};

inline constexpr std::uint32_t kPoolPushMagic = 0x48535550;  // "PUSH"
inline constexpr std::size_t kPoolPushBytes = 32;

/// REQUIRES: out.size() >= kPoolPushBytes.
void encode_push(const PoolPush& push, std::span<std::byte> out);
/// Errors: kBadFrame.
Result<PoolPush> decode_push(std::span<const std::byte> bytes);

/// Errors: kSystem (kResourceExhausted: the socket is full and `wait` is false; try again later).
Status send_push(int socket, const PoolPush& push, int fd, bool wait);

struct ReceivedPush {
  bool none = false;  // `wait` false and nothing there
  bool end = false;   // the peer has closed
  PoolPush push;
  UniqueFd fd;
};
/// Errors: kBadFrame (another form, or not exactly one descriptor), kSystem.
Result<ReceivedPush> receive_push(int socket, bool wait);

/// What has been sent over one edge, one way.
class PushedPools {
 public:
  /// True if all of it has been sent, so that a frame with its handles may follow.
  bool up_to_date(Uid issuer, std::uint32_t segment_count) const;
  /// Sends what is missing. After an error the next call goes on where this one stopped.
  Status push_missing(int socket, const PoolDescriptors& pool, bool wait);

 private:
  std::map<Uid, std::uint32_t> sent_;  // segments; an entry means that the table was sent
};

}  // namespace echelon
