// SPDX-License-Identifier: Apache-2.0
#include "shm/ring.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/check.h"

namespace echelon {
namespace {

constexpr std::size_t kRingBytesMin = 16 * kFrameAlign;
constexpr std::uint16_t kFlagsKnown = kFlagSpill | kFlagError | kFlagPush;

/// One load, whatever the compiler would like: the peer may change the field between two (SHM-2).
template <class T>
T load_once(T& field) {
  return std::atomic_ref<T>(field).load(std::memory_order_relaxed);
}

std::uint32_t after(std::uint32_t sequence) {
  return sequence == UINT32_MAX ? 1 : sequence + 1;
}

void check_memory(const RingMemory& memory) {
  const std::size_t bytes = memory.frames.size();
  ECHELON_CHECK(memory.position != nullptr);
  ECHELON_CHECK(std::has_single_bit(bytes) && bytes >= kRingBytesMin, bytes);
  ECHELON_CHECK(reinterpret_cast<std::uintptr_t>(memory.frames.data()) % kFrameAlign == 0);
}

FrameData& frame_in(const RingMemory& memory, std::uint64_t position) {
  return *reinterpret_cast<FrameData*>(memory.frames.data() +
                                       (position & (memory.frames.size() - 1)));
}

std::size_t bytes_to_end(const RingMemory& memory, std::uint64_t position) {
  return memory.frames.size() - (position & (memory.frames.size() - 1));
}

}  // namespace

bool belongs(RingUse use, FrameKind kind) {
  switch (kind) {
    case FrameKind::kSkip:
      return true;
    case FrameKind::kSubTask:
    case FrameKind::kOrchTask:
    case FrameKind::kChipTask:
    case FrameKind::kCopyTask:
    case FrameKind::kReleaseBuffer:
      return use == RingUse::kTasks;
    case FrameKind::kCompletion:
      return use == RingUse::kCompletions;
    case FrameKind::kPing:
    case FrameKind::kCancel:
    case FrameKind::kShutdown:
    case FrameKind::kStatsRequest:
    case FrameKind::kStackRequest:
    case FrameKind::kRegister:
    case FrameKind::kUnregister:
      return use == RingUse::kControlDown;
    case FrameKind::kPong:
    case FrameKind::kStatsReply:
    case FrameKind::kStackReply:
    case FrameKind::kRegisterReply:
    case FrameKind::kUnregisterReply:
    case FrameKind::kAnnounce:
      return use == RingUse::kControlUp;
    case FrameKind::kNone:
    case FrameKind::kHello:
    case FrameKind::kGoodbye:
      return false;
  }
  return false;
}

// --- producer
// -------------------------------------------------------------------------------------

RingProducer::RingProducer(RingMemory memory) : memory_(memory) {
  check_memory(memory_);
}

FrameData& RingProducer::frame_at(std::uint64_t position) const {
  return frame_in(memory_, position);
}

bool RingProducer::has_room(std::uint64_t bytes) const {
  return produced_ + bytes - consumed_ <= memory_.frames.size();
}

/// Reads how far the consumer is. False: what it says cannot be.
bool RingProducer::refresh() {
  // pairs with the release store in RingConsumer::advance: the frames before it have been read
  const std::uint64_t consumed = memory_.position->consumed.load(std::memory_order_acquire);
  if (consumed < consumed_ || consumed > produced_ || consumed % kFrameAlign != 0) return false;
  consumed_ = consumed;
  return true;
}

FramePlace RingProducer::publish(const FrameHeader& header, std::size_t body_bytes,
                                 std::span<const std::byte> body, std::span<const std::byte> more) {
  const std::size_t bytes = frame_bytes(body_bytes);
  // relaxed: the stamp below is stored after it
  frame_at(produced_ + bytes).stamp.store(0, std::memory_order_relaxed);
  FrameData& frame = frame_at(produced_);
  frame.claim.store(static_cast<std::uint32_t>(Claim::kQueued), std::memory_order_relaxed);
  frame.bytes = static_cast<std::uint32_t>(body_bytes);
  frame.kind = static_cast<std::uint16_t>(header.kind);
  frame.flags = header.flags;
  frame.task = header.task;
  frame.slot = header.slot;
  frame.reserved = 0;
  frame.deadline = header.deadline;
  auto* at = reinterpret_cast<std::byte*>(&frame) + kFrameHeaderBytes;
  if (!body.empty()) std::memcpy(at, body.data(), body.size());
  if (!more.empty()) std::memcpy(at + body.size(), more.data(), more.size());
  const FramePlace place{produced_, sequence_};
  // pairs with the seq_cst loads in RingConsumer::pending and try_peek (SHM-3): publishes the frame
  frame.stamp.store(sequence_, std::memory_order_seq_cst);
  produced_ += bytes;
  sequence_ = after(sequence_);
  return place;
}

PushResult RingProducer::try_push(const FrameHeader& header, std::span<const std::byte> body,
                                  std::span<const std::byte> more, FramePlace& place) {
  const std::size_t body_bytes = body.size() + more.size();
  ECHELON_CHECK(body_bytes <= body_bytes_max(), body.size(), more.size());
  const std::size_t bytes = frame_bytes(body_bytes);
  const std::size_t to_end = bytes_to_end(memory_, produced_);
  const std::size_t skip = to_end < bytes ? to_end : 0;
  // the next frame's stamp is cleared, so its line must be free, too
  const std::size_t needed = skip + bytes + kFrameAlign;
  if (!has_room(needed)) {
    if (!refresh()) return PushResult::kBroken;
    if (!has_room(needed)) return PushResult::kNoRoom;
  }
  if (skip != 0) {
    FrameHeader filler;
    filler.kind = FrameKind::kSkip;
    publish(filler, skip - kFrameHeaderBytes, {}, {});
  }
  place = publish(header, body_bytes, body, more);
  return PushResult::kPushed;
}

Claim RingProducer::claim_of(const FramePlace& place) {
  refresh();
  const bool overwritten = produced_ - place.position > memory_.frames.size();
  if (place.position < consumed_ || overwritten) return Claim::kTaken;
  // relaxed: a hint; who decides by it uses try_recall
  const std::uint32_t claim = frame_at(place.position).claim.load(std::memory_order_relaxed);
  if (claim == static_cast<std::uint32_t>(Claim::kQueued)) return Claim::kQueued;
  return claim == static_cast<std::uint32_t>(Claim::kRecalled) ? Claim::kRecalled : Claim::kTaken;
}

bool RingProducer::try_recall(const FramePlace& place) {
  if (claim_of(place) != Claim::kQueued) return false;
  auto expected = static_cast<std::uint32_t>(Claim::kQueued);
  // pairs with the compare-exchange in RingConsumer::claim_taken: exactly one of the two wins
  return frame_at(place.position)
      .claim.compare_exchange_strong(expected, static_cast<std::uint32_t>(Claim::kRecalled),
                                     std::memory_order_acq_rel, std::memory_order_acquire);
}

bool RingProducer::drained() {
  return refresh() && consumed_ == produced_;
}

// --- consumer
// -------------------------------------------------------------------------------------

RingConsumer::RingConsumer(RingMemory memory, RingUse use) : memory_(memory), use_(use) {
  check_memory(memory_);
}

FrameData& RingConsumer::frame_at(std::uint64_t position) const {
  return frame_in(memory_, position);
}

bool RingConsumer::pending() const {
  // pairs with the seq_cst store in RingProducer::publish (SHM-3); a sleeper's S3
  return frame_at(consumed_).stamp.load(std::memory_order_seq_cst) != 0;
}

PeekResult RingConsumer::try_peek(RingFrame& frame) {
  while (true) {
    // pairs with the seq_cst store in RingProducer::publish: the frame is whole
    const std::uint32_t stamp = frame_at(consumed_).stamp.load(std::memory_order_seq_cst);
    if (stamp == 0 && error_.ok()) return PeekResult::kEmpty;
    const PeekResult result = check(stamp, frame);
    if (result != PeekResult::kFrame || frame.header.kind != FrameKind::kSkip) return result;
    pop();
  }
}

/// Judges a copy of the header (SHM-2).
PeekResult RingConsumer::check(std::uint32_t stamp, RingFrame& frame) {
  if (!error_.ok()) return PeekResult::kBad;
  if (stamp != sequence_) {
    return poison(fmt::format("sequence number {} where {} was due", stamp, sequence_));
  }
  FrameData& data = frame_at(consumed_);
  FrameHeader& header = frame.header;
  header.bytes = load_once(data.bytes);
  header.kind = static_cast<FrameKind>(load_once(data.kind));
  header.flags = load_once(data.flags);
  header.task = data.task;
  header.slot = data.slot;
  header.deadline = data.deadline;
  const std::size_t to_end = bytes_to_end(memory_, consumed_);
  if (!belongs(use_, header.kind)) {
    return poison(fmt::format("kind {} does not belong here", static_cast<int>(header.kind)));
  }
  if ((header.flags & ~kFlagsKnown) != 0) {
    return poison(fmt::format("unknown flags {:#x}", header.flags));
  }
  if (header.bytes > frame_body_max(memory_.frames.size())) {
    return poison(fmt::format("{} bytes of body, {} are the most", header.bytes,
                              frame_body_max(memory_.frames.size())));
  }
  const std::size_t bytes = frame_bytes(header.bytes);
  if (bytes > to_end) {
    return poison(fmt::format("{} bytes, {} before the end of the ring", bytes, to_end));
  }
  if (header.kind == FrameKind::kSkip && bytes != to_end) {
    return poison(fmt::format("a skip frame of {} bytes, {} before the end", bytes, to_end));
  }
  peeked_bytes_ = bytes;
  frame.body = {reinterpret_cast<const std::byte*>(&data) + kFrameHeaderBytes, header.bytes};
  return PeekResult::kFrame;
}

PeekResult RingConsumer::poison(std::string what) {
  error_ = Status::error(Code::kDataLoss, Reason::kBadFrame,
                         fmt::format("a bad frame at byte {} of the ring: {}",
                                     consumed_ & (memory_.frames.size() - 1), what));
  peeked_bytes_ = 0;
  return PeekResult::kBad;
}

bool RingConsumer::claim_taken() {
  ECHELON_CHECK(peeked_bytes_ != 0);
  auto expected = static_cast<std::uint32_t>(Claim::kQueued);
  // pairs with the compare-exchange in RingProducer::try_recall: exactly one of the two wins
  return frame_at(consumed_).claim.compare_exchange_strong(
      expected, static_cast<std::uint32_t>(Claim::kTaken), std::memory_order_acq_rel,
      std::memory_order_acquire);
}

void RingConsumer::pop() {
  ECHELON_CHECK(peeked_bytes_ != 0);
  advance(peeked_bytes_);
}

void RingConsumer::advance(std::size_t bytes) {
  consumed_ += bytes;
  sequence_ = after(sequence_);
  peeked_bytes_ = 0;
  // pairs with the acquire load in RingProducer::refresh: the frame may be overwritten
  memory_.position->consumed.store(consumed_, std::memory_order_release);
}

}  // namespace echelon
