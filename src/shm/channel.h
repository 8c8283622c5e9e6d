// SPDX-License-Identifier: Apache-2.0
//
// The channel between a Worker and one local child (docs/design/0003-channel.md): one segment, laid
// out by ChannelData; the handles ChannelParent and ChannelChild give each side its ends.
//
// Processes: two; the parent creates it, the child opens the descriptor that it was handed.
// Threads: each ring end belongs to one thread at a time. Parent: the driver (tasks, completions)
// and whoever holds the control lock (control). Child: executor (tasks, completions), control
// thread (control). State, phase, last words and counters: as said at each call. Fork: mapped
// MADV_DONTFORK in the parent. A channel is never used for a second child.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"
#include "shm/doorbell.h"
#include "shm/ring.h"
#include "shm/segment.h"

namespace echelon {

inline constexpr std::uint64_t kChannelMagic = 0x314C4E4843484345;  // "ECHCHNL1"
inline constexpr std::uint32_t kChannelVersion = 1;
inline constexpr std::size_t kRingBytes = 64 * 1024;
inline constexpr std::size_t kLastWordsBytesMax = 4096;
inline constexpr std::size_t kPhaseBytesMax = 116;

/// Unfinished tasks at one child, at most.
inline constexpr std::size_t kWindowMax = 16;
/// A completion with more body than this spills, so that a child never waits for room: all
/// completions of a full window, a skip frame and the next frame's stamp fit into the ring at once.
inline constexpr std::size_t kCompletionBodyMax = 3 * 1024 - kFrameHeaderBytes;
static_assert(kWindowMax * frame_bytes(kCompletionBodyMax) + frame_bytes(kCompletionBodyMax) +
                  kFrameAlign <=
              kRingBytes);
/// A task with more body than this spills.
inline constexpr std::size_t kTaskBodyMax = frame_body_max(kRingBytes);

using BuildIdBytes = std::array<std::byte, 32>;

enum class ChildState : std::uint32_t {
  kBooting = 0,   // not yet in its own code
  kStarting = 1,  // its phase says at what
  kReady = 2,
  kFailed = 3,   // did not start; the last words say why
  kClosing = 4,  // ends as it was told to
};
inline constexpr ChildState kChildStateLast = ChildState::kClosing;
std::string_view to_string(ChildState state);

// --- layout
// ---------------------------------------------------------------------------------------

struct ChannelHeaderData {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t window;
  std::uint64_t uid;         // the child's
  std::uint64_t bytes;       // of the segment
  std::uint64_t ring_bytes;  // of each of the four
  std::array<std::byte, 32> build_id;
};

/// Written by the child, read by anybody; relaxed.
struct ChannelCountersData {
  std::atomic<std::uint64_t> tasks_done, tasks_failed, busy_ns, bytes_in, bytes_out;
};

struct ChannelStateData {
  std::atomic<std::uint32_t> state;  // ChildState
  std::atomic<std::uint32_t> phase_bytes;
  std::array<char, kPhaseBytesMax> phase;
};

struct ChannelData {
  alignas(256) ChannelHeaderData header;
  alignas(256) RingPositionData task_position;
  RingPositionData completion_position;
  RingPositionData control_down_position;
  RingPositionData control_up_position;
  alignas(64) std::array<std::byte, 64> liveness;  // process/: a robust pthread_mutex_t
  alignas(64) ChannelStateData state;
  alignas(64) ChannelCountersData counters;
  SleepData executor;
  SleepData control;
  alignas(64) std::atomic<std::uint32_t> last_words_bytes;
  std::atomic<std::uint32_t> last_words_taken;  // by the first writer
  alignas(1024) std::array<char, kLastWordsBytesMax> last_words;
  alignas(4096) std::array<std::byte, kRingBytes> task_ring;
  std::array<std::byte, kRingBytes> completion_ring;
  std::array<std::byte, kRingBytes> control_down_ring;
  std::array<std::byte, kRingBytes> control_up_ring;
};
static_assert(offsetof(ChannelHeaderData, magic) == 0);
static_assert(offsetof(ChannelHeaderData, version) == 8);
static_assert(offsetof(ChannelHeaderData, window) == 12);
static_assert(offsetof(ChannelHeaderData, uid) == 16);
static_assert(offsetof(ChannelHeaderData, bytes) == 24);
static_assert(offsetof(ChannelHeaderData, ring_bytes) == 32);
static_assert(offsetof(ChannelHeaderData, build_id) == 40);
static_assert(offsetof(ChannelData, header) == 0);
static_assert(offsetof(ChannelData, task_position) == 256);
static_assert(offsetof(ChannelData, completion_position) == 320);
static_assert(offsetof(ChannelData, control_down_position) == 384);
static_assert(offsetof(ChannelData, control_up_position) == 448);
static_assert(offsetof(ChannelData, liveness) == 512);
static_assert(offsetof(ChannelData, state) == 576);
static_assert(offsetof(ChannelData, counters) == 704);
static_assert(offsetof(ChannelData, executor) == 768);
static_assert(offsetof(ChannelData, control) == 832);
static_assert(offsetof(ChannelData, last_words_bytes) == 896);
static_assert(offsetof(ChannelData, last_words_taken) == 900);
static_assert(offsetof(ChannelData, last_words) == 1024);
static_assert(offsetof(ChannelData, task_ring) == 8192);
static_assert(offsetof(ChannelData, completion_ring) == 8192 + kRingBytes);
static_assert(offsetof(ChannelData, control_down_ring) == 8192 + 2 * kRingBytes);
static_assert(offsetof(ChannelData, control_up_ring) == 8192 + 3 * kRingBytes);
static_assert(sizeof(ChannelData) == 8192 + 4 * kRingBytes);

// --- handles
// --------------------------------------------------------------------------------------

/// The counters as numbers.
struct ChannelCounters {
  std::uint64_t tasks_done = 0, tasks_failed = 0, busy_ns = 0, bytes_in = 0, bytes_out = 0;
};

class ChannelParent {
 public:
  /// A new channel for the child `uid`, prefaulted. Errors: kSystem.
  static Result<ChannelParent> create(Uid uid, const BuildIdBytes& build_id);

  RingProducer tasks;
  RingConsumer completions;
  RingProducer control_down;
  RingConsumer control_up;
  SleepWord executor;  // ring() after a task
  SleepWord control;   // ring() after a control frame

  int fd() const { return segment_.fd(); }
  Uid uid() const { return uid_; }
  /// 64 bytes for a robust mutex, whose futex word is the first. Zero at the beginning.
  std::span<std::byte, 64> liveness() const;
  /// What the child last said. Any thread.
  ChildState state() const;
  /// The word of state(), to sleep on.
  const std::atomic<std::uint32_t>& state_word() const;
  /// Printable, whatever the child wrote. Any thread.
  std::string phase() const;
  /// What a dying child left, as bytes: text, or an encoded error (base/error_codec.h) - whatever
  /// was agreed above this layer. Empty: nothing. Any thread.
  std::string last_words() const;
  ChannelCounters counters() const;

 private:
  ChannelData& data() const { return *reinterpret_cast<ChannelData*>(segment_.data()); }

  Segment segment_;
  Uid uid_;
};

class ChannelChild {
 public:
  /// Opens what the parent made. Errors: kBadFrame (not a channel, another version, build, uid or
  /// size), kSystem.
  static Result<ChannelChild> open(UniqueFd fd, Uid uid, const BuildIdBytes& build_id);

  RingConsumer tasks;
  RingProducer completions;
  RingConsumer control_down;
  RingProducer control_up;
  SleepWord executor;  // sleep() when the task ring is empty
  SleepWord control;

  Uid uid() const { return uid_; }
  std::span<std::byte, 64> liveness() const;
  /// Any one thread at a time. `phase` is cut at kPhaseBytesMax. Wakes who sleeps on state_word().
  void set_state(ChildState state, std::string_view phase);
  /// The phase alone: what a ready child is at beside its tasks. Any one thread at a time.
  void set_phase(std::string_view phase);
  ChildState state() const;
  /// The first call counts, later ones are ignored, so that the first cause stays. Cut at
  /// kLastWordsBytesMax. Any thread; safe in a signal handler.
  void write_last_words(std::string_view bytes);
  /// Executor only.
  void count_task(bool failed, std::uint64_t busy_ns, std::uint64_t bytes_in,
                  std::uint64_t bytes_out);
  ChannelCounters counters() const;

 private:
  ChannelData& data() const { return *reinterpret_cast<ChannelData*>(segment_.data()); }

  Segment segment_;
  Uid uid_;
};

}  // namespace echelon
