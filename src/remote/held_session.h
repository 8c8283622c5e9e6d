// SPDX-License-Identifier: Apache-2.0
//
// HeldSession: one session as its daemon holds it - what its process says and does, told to its
// ticket.
//
//   Starting -> Ready -> Ending -> over      over: its process is reaped
//   a start that fails, and an end that was asked for, are told once nothing of it is left; the
//   death of one that was ready is told at once
//
// Threads: the daemon's keeper; ask_end() any. Blocking: never.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/env.h"
#include "base/status.h"
#include "process/local_endpoint.h"
#include "remote/transport.h"

namespace echelon {

struct HeldSessionOptions {
  std::uint64_t number = 0;
  std::string host;
  std::uint64_t memory_bytes = 0;
  std::chrono::nanoseconds start_deadline{};
  /// From being asked to end to being killed.
  std::chrono::nanoseconds end_patience{};
  /// For the log: "ready: pid 71, 0.043 s".
  std::function<void(std::string_view what)> log;
};

class HeldSession final : private EndpointEvents {
 public:
  HeldSession(HeldSessionOptions options, std::unique_ptr<LocalEndpoint> endpoint,
              std::shared_ptr<SessionTicket> ticket, MonotonicNs now);

  /// It ends with `told`, unless it ends by itself first. Any thread.
  void ask_end(const Status& told);

  /// Takes in what there is. Returns when to be called again at the latest; 0: when there is news.
  MonotonicNs step(MonotonicNs now);
  /// Its process is gone, and its ticket was told.
  bool over() const { return ticket_ == nullptr && endpoint_->gone(); }
  /// The daemon has no spawner any more, or ends: nothing more will be heard.
  void give_up(const Status& why);

  LocalEndpoint& endpoint() { return *endpoint_; }
  const HeldSessionOptions& options() const { return options_; }

 private:
  enum class Stage : std::uint8_t { kStarting, kReady, kEnding };

  void begin_end(const Status& why, MonotonicNs kill_at);
  void take_request(MonotonicNs now);
  void watch_start(MonotonicNs now);
  Status take_ready(MonotonicNs now);
  void tell_end(const Status& why);

  // EndpointEvents: the endpoint's own questions say it all.
  void on_completion(ChildIndex, const Completion&) override {}
  void on_down(ChildIndex, const Status&) override {}
  void on_gone(ChildIndex) override {}

  const HeldSessionOptions options_;
  const std::unique_ptr<LocalEndpoint> endpoint_;
  std::shared_ptr<SessionTicket> ticket_;  // nullptr: told
  const MonotonicNs opened_ns_;
  Stage stage_ = Stage::kStarting;
  std::string phase_;
  std::string lanes_at_;  // where it said that it listens
  Status why_;            // what ends it, where that is not its own death
  MonotonicNs kill_at_ns_ = 0;
  bool killed_ = false;

  std::mutex mutex_;  // guards asked_
  std::optional<Status> asked_;
};

}  // namespace echelon
