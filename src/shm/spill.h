// SPDX-License-Identifier: Apache-2.0
//
// Spills: bodies too large for a ring. The body goes into a sealed memory file of its own, pushed
// over the edge's socket (pool_push.h) before the frame, whose flag kFlagSpill says that its body
// is a SpillData. The receiver maps it read-only; sealed, it cannot change while it is decoded.
//
// Threads: SpillInbox: one at a time. Blocking: no.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>

#include "base/mapping.h"
#include "base/status.h"
#include "shm/pool_directory.h"
#include "shm/pool_push.h"

namespace echelon {

inline constexpr std::uint64_t kSpillBytesMax = std::uint64_t{256} << 20;
/// Spills that have arrived and whose frames have not been read, at most.
inline constexpr std::size_t kSpillsPendingMax = 64;

/// The body of a frame with kFlagSpill.
struct SpillData {
  std::uint64_t id;  // counts up over one edge, one way
  std::uint64_t bytes;
};
static_assert(sizeof(SpillData) == 16 && offsetof(SpillData, bytes) == 8);

/// Writes a body (`body`, then `more`) and pushes it. Errors: kTooLarge, kSystem
/// (kResourceExhausted as send_push). On success the frame's body is the returned SpillData.
Result<SpillData> send_spill(int socket, Uid sender, std::uint64_t id,
                             std::span<const std::byte> body, std::span<const std::byte> more,
                             bool wait);

class SpillInbox {
 public:
  /// Errors: kBadFrame (not sealed, or of another size), kTooLarge, kExhausted, kSystem.
  Status adopt(std::uint64_t id, std::uint64_t bytes, UniqueFd fd);
  /// The body that a frame names; `frame_body` is the frame's own. Each spill can be taken once.
  /// Errors: kBadFrame (no such spill came, or sizes differ).
  Result<Mapping> take(std::span<const std::byte> frame_body, const FetchMore& fetch_more);
  std::size_t pending() const { return pending_.size(); }

 private:
  std::map<std::uint64_t, Mapping> pending_;
};

/// Hands a received pool or spill to whom it belongs. Errors: theirs; kBadFrame for another kind.
Status adopt_push(ReceivedPush received, PoolDirectory& pools, SpillInbox& spills);

}  // namespace echelon
