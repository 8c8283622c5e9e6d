// SPDX-License-Identifier: Apache-2.0
//
// One direction of a channel: frames (frame.h) in a ring of shared memory, one producer, one
// consumer.
//
// Protocol
//   A frame's sequence number counts frames (skip frames, too) from 1 and passes over 0. It is the
//   stamp, stored last. The producer first clears the stamp of the place where the NEXT frame will
//   begin, so that a consumer that has seen frame n finds there 0, or the stamp of frame n + 1; any
//   other value is a peer's mistake. The consumer's position lies in a line of its own, which the
//   producer reads only when the room that it knows of does not suffice: small frames cost one
//   line. A frame never wraps: where the end is too near, a skip frame fills it.
//
// SHM-1  Both ends keep position and sequence to themselves; shared memory is only ever read
// through
//        offsets computed from these. Whatever a peer writes, no access leaves the ring.
// SHM-2  A header is copied field by field, each with one load, and judged as a copy.
// SHM-3  The stamp is stored and loaded seq_cst: it is the ring's half of every sleeper's protocol
//        (doorbell.h).
//
// Threads: each end is one thread's at a time. Blocking: never. Ownership: views of a Segment.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "shm/frame.h"

namespace echelon {

/// In shared memory: the consumer's position, alone in its line.
struct RingPositionData {
  alignas(64) std::atomic<std::uint64_t> consumed;  // bytes since the beginning
};
static_assert(sizeof(RingPositionData) == 64);

/// Where a ring lies in this process.
struct RingMemory {
  RingPositionData* position = nullptr;
  std::span<std::byte> frames;  // a power of two of bytes, 64-byte aligned, zero at the beginning
};

/// Bytes of body that a frame in a ring of `ring_bytes` may have.
constexpr std::size_t frame_body_max(std::size_t ring_bytes) {
  return ring_bytes / 4 - kFrameHeaderBytes;
}

/// What a ring carries; frames of other kinds are bad frames.
enum class RingUse : std::uint8_t { kTasks, kCompletions, kControlDown, kControlUp };
bool belongs(RingUse use, FrameKind kind);

/// Where a frame was put, for recalling it.
struct FramePlace {
  std::uint64_t position = 0;
  std::uint32_t sequence = 0;  // never 0 for a frame that exists
};

enum class PushResult : std::uint8_t {
  kPushed,
  kNoRoom,  // the consumer has to take some first
  kBroken,  // the consumer's position is impossible: a peer's garbage
};

class RingProducer {
 public:
  RingProducer() = default;
  explicit RingProducer(RingMemory memory);

  /// Publishes one frame whose body is `body` and then `more`. header.bytes is ignored.
  /// REQUIRES: body.size() + more.size() <= body_bytes_max().
  PushResult try_push(const FrameHeader& header, std::span<const std::byte> body,
                      std::span<const std::byte> more, FramePlace& place);
  PushResult try_push(const FrameHeader& header, std::span<const std::byte> body = {}) {
    FramePlace place;
    return try_push(header, body, {}, place);
  }

  /// Takes back a frame that the consumer has not claimed. True: the consumer will pass over it.
  bool try_recall(const FramePlace& place);

  /// kTaken once the consumer has claimed or passed it. A recalled frame answers kRecalled until it
  /// is passed.
  Claim claim_of(const FramePlace& place);

  std::size_t body_bytes_max() const { return frame_body_max(memory_.frames.size()); }
  /// True when everything that was pushed has been passed by the consumer.
  bool drained();

 private:
  FrameData& frame_at(std::uint64_t position) const;
  bool refresh();
  bool has_room(std::uint64_t bytes) const;
  FramePlace publish(const FrameHeader& header, std::size_t body_bytes,
                     std::span<const std::byte> body, std::span<const std::byte> more);

  RingMemory memory_;
  std::uint64_t produced_ = 0;
  std::uint64_t consumed_ = 0;  // as last read; never goes back
  std::uint32_t sequence_ = 1;  // of the next frame
};

/// A frame as its consumer sees it.
struct RingFrame {
  FrameHeader header;
  /// In the ring, until pop(). The peer could still change it: decode it once, or copy it first.
  std::span<const std::byte> body;
};

enum class PeekResult : std::uint8_t {
  kEmpty,
  kFrame,
  kBad,  // error() says what is wrong; the ring is poisoned: it stays so
};

class RingConsumer {
 public:
  RingConsumer() = default;
  RingConsumer(RingMemory memory, RingUse use);

  /// True if try_peek() would not answer kEmpty. Also a sleeper's re-read (doorbell.h).
  bool pending() const;

  /// The next frame; skip frames are passed over.
  PeekResult try_peek(RingFrame& frame);

  /// Task ring: claims the frame that was peeked. False: it has been recalled; pop() it unread.
  /// REQUIRES: try_peek() answered kFrame.
  bool claim_taken();

  /// Passes the frame that was peeked. REQUIRES: try_peek() answered kFrame.
  void pop();

  /// Frames passed (skip frames included): the position that "applies when the executor has passed
  /// it" means.
  std::uint64_t consumed_bytes() const { return consumed_; }
  const Status& error() const { return error_; }

 private:
  FrameData& frame_at(std::uint64_t position) const;
  PeekResult check(std::uint32_t stamp, RingFrame& frame);
  PeekResult poison(std::string what);
  void advance(std::size_t bytes);

  RingMemory memory_;
  RingUse use_ = RingUse::kTasks;
  std::uint64_t consumed_ = 0;
  std::uint32_t sequence_ = 1;    // that the next frame must have
  std::size_t peeked_bytes_ = 0;  // of the frame that was peeked, whole; 0: none
  Status error_;
};

}  // namespace echelon
