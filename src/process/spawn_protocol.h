// SPDX-License-Identifier: Apache-2.0
//
// What a Worker and its spawner say to each other, one message a SEQPACKET datagram, and what the
// spawner must remember. No I/O here: spawner.h and spawner_loop.h move the bytes.
//
//   u8 version (1), u8 message, u16 zero, u32 child index, then
//   Spawn     u8 kind, u8 in a runner, 2 zero bytes, i32 expected parent, u64 uid, text path, text
//   name, u16 count, count x text
//             + descriptors: channel, edge, doorbell, and but for chips a payload or none; a
//             spawner passes the whole of it on to a runner
//   Kill      -
//   Shutdown  u32 kill_after_ms
//   Spawned   i32 pid                                    + descriptor: pidfd
//   Exited    i32 pid, i32 wait status, u64 user us, u64 system us, u64 max rss KiB, text stderr
//   tail Output    u8 stream, 3 zero bytes, text Failed    u32 bytes, encoded ErrorInfo
//   (base/error_codec.h) text      u32 bytes, bytes
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/spawner.h"

namespace echelon {

inline constexpr std::size_t kSpawnMessageBytesMax = 64 * 1024;
inline constexpr std::size_t kOutputBytesMax = 8 * 1024;  // of one Output message
inline constexpr std::size_t kStderrTailBytes = 2 * 1024;
inline constexpr std::size_t kSpawnArgumentsMax = 64;
inline constexpr std::size_t kSpawnerChildrenMax = 4096;
inline constexpr std::size_t kSpawnFds = 3;
inline constexpr std::size_t kSpawnFdsMax = 4;  // with a payload
static_assert(kOutputBytesMax + 64 <= kSpawnMessageBytesMax);

struct SpawnRequest {
  ChildSpec spec;
  pid_t expected_parent = 0;  // the spawner, as its Worker knows it
};
struct KillRequest {
  ChildIndex index;
};
struct ShutdownRequest {
  std::uint32_t kill_after_ms = 0;
};
using DownMessage = std::variant<SpawnRequest, KillRequest, ShutdownRequest>;

struct SpawnedReport {
  ChildIndex index;
  pid_t pid = 0;
};
struct ExitedReport {
  ChildIndex index;
  ExitReport exit;
};
struct OutputReport {
  ChildIndex index;
  OutputStream stream = OutputStream::kStdout;
  std::string text;
};
struct FailedReport {
  ChildIndex index;
  Status why;
};
using UpMessage = std::variant<SpawnedReport, ExitedReport, OutputReport, FailedReport>;

/// Errors: kTooLarge.
Result<std::vector<std::byte>> encode(const DownMessage& message);
Result<std::vector<std::byte>> encode(const UpMessage& message);
/// Validate everything but the descriptors. Errors: kBadFrame, with what was wrong.
Result<DownMessage> decode_down(std::span<const std::byte> bytes);
Result<UpMessage> decode_up(std::span<const std::byte> bytes);

/// What a spawner knows of its children, and what it may do next.
///
///   admit -> made -> announced -> (ended) -> reaped       made: forked, the pid is not yet passed
///   up
///
/// SPAWN-1: no child is reaped before its pid and pidfd have left for the Worker.
class SpawnLedger {
 public:
  /// May this one be made? Errors: kWrongState (the index is in use, or the end has begun);
  /// kExhausted.
  Status admit(const SpawnRequest& request) const;
  void made(ChildIndex index, pid_t pid);
  /// Its Spawned report has left.
  void announced(ChildIndex index);
  /// The Worker has ended: there is nobody to announce to.
  void announce_all();

  enum class Ended : std::uint8_t {
    kReap,    // ours, announced: reap and report
    kWait,    // ours, not announced yet: ask again later
    kOrphan,  // left behind by a callable: reap, say nothing
  };
  Ended ended(pid_t pid) const;
  /// Forgets it. nullopt: an orphan.
  std::optional<ChildIndex> reaped(pid_t pid);

  bool is_child(pid_t pid) const;
  std::optional<pid_t> pid_of(ChildIndex index) const;
  std::vector<pid_t> pids() const;
  std::size_t size() const { return children_.size(); }

  /// From now on no child is made; at `now` + kill_after all are killed. The earlier of two calls'
  /// times counts.
  void begin_end(MonotonicNs now, std::chrono::milliseconds kill_after);
  bool ending() const { return kill_at_ns_.has_value(); }
  bool kill_due(MonotonicNs now) const { return ending() && now >= *kill_at_ns_; }
  /// 0: none.
  MonotonicNs next_timer_ns() const;
  void killed() { killed_ = true; }
  bool finished() const { return ending() && children_.empty(); }

 private:
  struct Child {
    pid_t pid = 0;
    bool announced = false;
  };
  std::map<ChildIndex, Child> children_;
  std::map<pid_t, ChildIndex> by_pid_;
  std::optional<MonotonicNs> kill_at_ns_;
  bool killed_ = false;
};

}  // namespace echelon
