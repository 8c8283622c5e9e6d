// SPDX-License-Identifier: Apache-2.0
//
// SessionLink: a parent's hold on one session - asks the daemon for it, connects the three lanes
// when it is READY, hands them to the endpoint, ends it. What it hears goes to the endpoint, which
// is the one place that knows how the child is.
//
//   open() -> asking the daemon -> READY -> connecting lanes -> attached -> ended
//
// Threads: one of its own from open() until the lanes are attached, so that many sessions start at
//   once and a slow host delays itself alone; end() and ended() any thread. Blocking: end_until(),
//   the destructor (bounded by the time to connect).
// Fork: open() after the spawner was forked.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/env.h"
#include "base/status.h"
#include "remote/remote_endpoint.h"
#include "remote/transport.h"

namespace echelon {

struct SessionOrder {
  DaemonAddress daemon;
  SessionManifest manifest;
  /// For the three lanes together.
  std::chrono::nanoseconds lanes_timeout{std::chrono::seconds(5)};
};

class SessionLink final : private SessionEvents {
 public:
  /// `endpoint` must outlive it.
  explicit SessionLink(RemoteEndpoint& endpoint) : endpoint_(endpoint) {}
  ~SessionLink();
  SessionLink(const SessionLink&) = delete;
  SessionLink& operator=(const SessionLink&) = delete;

  /// Returns at once. Once. `transport` must outlive this.
  void open(RemoteTransport& transport, SessionOrder order);
  /// Asks the daemon to end the session, whatever it does. Never blocks.
  void end(const Status& why);
  /// Nothing of it is left, or nothing more can be heard of it.
  bool ended() const;
  /// Waits for that; lets go of the call then, or at `deadline_ns`: a daemon that does not answer
  /// sees a broken call.
  void end_until(MonotonicNs deadline_ns);

 private:
  // SessionEvents
  void on_phase(std::string_view phase) override;
  void on_ready(const SessionReady& ready) override;
  void on_ended(const Status& why) override;

  void run(RemoteTransport& transport, const SessionOrder& order);
  Status ask(RemoteTransport& transport, const SessionOrder& order);
  /// False: it ended, or is to end.
  bool await_ready(SessionReady& ready);
  Status connect(RemoteTransport& transport, const SessionOrder& order, const SessionReady& ready);
  bool ending() const;

  RemoteEndpoint& endpoint_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::shared_ptr<SessionCall> call_;
  std::optional<SessionReady> ready_;
  std::optional<std::string> end_;  // why it is to end
  bool opened_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace echelon
