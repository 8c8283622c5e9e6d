// SPDX-License-Identifier: Apache-2.0
//
// TreeChild: what a Worker's node needs of a child beyond the engine's Endpoint, wherever the child
// is: start-up, registration, statistics, the end.
//
// Threads: Endpoint's calls by the driver alone; all else from any thread. Blocking: never.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <echelon/node_info.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"
#include "process/registration_codec.h"
#include "shm/doorbell.h"

namespace echelon {

/// How far a child's start has come.
enum class StartState : std::uint8_t { kBooting, kStarting, kReady, kFailed };
struct StartProgress {
  StartState state = StartState::kBooting;
  std::string phase;  // what the child says it is doing: "opening device"
  Status error;       // with kFailed: its own message, path and pid
};

class TreeChild : public Endpoint {
 public:
  struct StatsReply {
    std::uint64_t token = 0;
    std::vector<std::byte> bytes;
  };
  struct RegistrationReply {
    std::uint64_t token = 0;
    bool unregister = false;
    SubtreeAnswer answer;
  };

  /// In order with the tasks: the child may forget this buffer. kNoRoom: try again after poll().
  virtual DispatchResult try_release_buffer(BufferId buffer) = 0;
  /// True if poll() would report something: a look at one line.
  virtual bool has_news() const = 0;
  /// Reads control answers, watches over the child. Returns when to call again at the latest; 0: no
  /// need.
  virtual MonotonicNs tick(MonotonicNs now) = 0;

  /// `why`: what its tasks say, should it have to be killed for it; ok: how it died.
  virtual void request_shutdown(const Status& why) = 0;
  /// False: no room, or down. The reply comes to take_stats_reply() after a tick().
  virtual bool request_stats(std::uint64_t token) = 0;
  virtual std::optional<StatsReply> take_stats_reply() = 0;
  /// A callable for this child, or for what is below it; one caller at a time. kNoRoom: the child
  /// has to read first; then the same again. Its answer comes to take_registration_replies() after
  /// a tick().
  /// With `wakes` the child may sleep until that batch is woken.
  virtual DispatchResult request_register(std::uint64_t token, const RegisterRequest& request,
                                          WakeBatch* wakes) = 0;
  virtual DispatchResult request_unregister(std::uint64_t token, CallableSlot slot,
                                            std::uint64_t serial, WakeBatch* wakes) = 0;
  /// For who does not wait for the next tick(). Any thread.
  virtual void read_answers() {}
  virtual std::vector<RegistrationReply> take_registration_replies() = 0;

  virtual StartProgress start_progress() const = 0;
  virtual ChildKind kind() const = 0;
  virtual const std::string& path() const = 0;
  /// 0: not known.
  virtual pid_t pid() const = 0;
  /// What it says it is doing.
  virtual std::string phase() const = 0;
  virtual bool down() const = 0;
  /// Down, or about to be: it will answer nothing more.
  virtual bool ending() const = 0;
  /// Why it is down. REQUIRES: down().
  virtual Status down_status() const = 0;
  virtual bool gone() const = 0;
  /// Fills in what it has done, as far as that is known without asking it.
  virtual void add_counters(NodeInfo& info) const = 0;
};

/// "child host0/chip1 not ready after 30 s: phase opening device", for each child not ready.
Status not_ready_error(std::span<TreeChild* const> children, std::chrono::nanoseconds waited);

}  // namespace echelon
