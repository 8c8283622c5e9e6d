// SPDX-License-Identifier: Apache-2.0
//
// HealthServer: a session's end of the health lane - greeting, pings and the lease, control frames.
//
// Threads: pump() one at a time; answer(), goodbye(), silent_for() any. Blocking: never.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>

#include "base/env.h"
#include "base/status.h"
#include "process/control_server.h"
#include "remote/lane.h"
#include "remote/lane_words.h"
#include "remote/wire.h"

namespace echelon {

class HealthServer final : private LaneEvents, private ControlReplies {
 public:
  /// `lane` and `env` must outlive it. `lease` 0: for ever.
  HealthServer(ControlHooks hooks, std::chrono::nanoseconds lease, Lane& lane, Env& env);

  /// Takes in what has come. True if something had.
  bool pump();
  bool has_news() const { return lane_.has_news(); }
  /// The parent is lost, has left, or sent what is no message.
  const Status& failed() const { return failed_; }
  /// Fails if the parent was silent for too long. Returns when to ask again; 0: never.
  MonotonicNs check_lease();

  std::chrono::nanoseconds silent_for() const;
  /// False: the parent has to read first.
  bool answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body);
  /// The last word, as far as there is room for it.
  void goodbye(const Status& why);

 private:
  void on_message(std::span<const std::byte> message) override;
  void on_down(const Status& why) override { fail(lane_down(LaneRole::kHealth, why)); }
  void reply(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) override;
  Status take(const LaneFrame& frame);
  Status greet(std::span<const std::byte> body);
  Status renew(std::uint64_t lease_ns);
  void fail(const Status& why);

  ControlProtocol protocol_;
  Lane& lane_;
  Env& env_;
  std::uint64_t lease_ns_;
  bool greeted_ = false;
  Status failed_;
  std::atomic<MonotonicNs> heard_ns_;
  std::mutex send_mutex_;  // a lane has one sender at a time
};

}  // namespace echelon
