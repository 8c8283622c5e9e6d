// SPDX-License-Identifier: Apache-2.0
//
// What a LocalEndpoint is made of; shared by its two source files alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process/death_cause.h"
#include "process/local_endpoint.h"

namespace echelon {

struct LocalEndpoint::State {
  State(LocalEndpointOptions given, ChannelParent with, std::unique_ptr<TreeEdge> over,
        ChildProcess& of, Env& clock)
      : options(std::move(given)),
        channel(std::move(with)),
        edge(std::move(over)),
        process(of),
        env(clock),
        watch(*reinterpret_cast<const LivenessData*>(channel.liveness().data())) {}

  /// What has become known beside the rings; only ever set.
  enum News : std::uint32_t {
    kOwnerDied = 1,
    kExited = 2,
    kSpawnFailed = 4,
    kEndAsked = 8,  // terminate(), a bad frame, no answer
    kSpawnerLost = 16,
  };
  struct InFlight {
    TaskId task;
    FramePlace place;
    bool carries_push = false;
    bool taken = false;  // as settled when it went down
  };

  const LocalEndpointOptions options;
  ChannelParent channel;
  std::unique_ptr<TreeEdge> edge;
  ChildProcess& process;
  Env& env;
  LivenessWatch watch;

  // The driver's.
  std::array<InFlight, kWindowMax> window{};
  std::uint32_t window_count = 0;
  std::vector<std::pair<TaskId, Status>> failed_here;   // reported by the next poll()
  std::optional<std::pair<TaskId, SpillData>> spilled;  // sent, its frame found no room
  EndpointCounters counters;
  bool drain_notice_sent = false;

  std::atomic<std::uint32_t> news{0};
  std::atomic<std::uint32_t> in_flight{0};
  std::atomic<pid_t> pid{0};
  std::atomic<bool> down{false};
  std::atomic<bool> gone{false};
  std::atomic<std::uint64_t> pushed_payload{0};  // the last one's id

  mutable std::mutex mutex;  // guards all below, and the control rings
  Status end_why;
  Status shutdown_why;
  Status spawn_failed;
  std::optional<ExitReport> exit;
  MonotonicNs owner_died_ns = 0;
  std::optional<DeathCause> death;  // as the kernel told it before the report of its end
  std::optional<std::uint64_t> oom_kills_before;
  std::optional<StatsReply> stats_reply;
  std::vector<std::byte> announcement;
  std::vector<RegistrationReply> registration_replies;
  std::atomic<bool> registration_answered{false};  // there are some; read without the lock
  std::string stack;
  bool stack_asked = false;
  std::uint64_t ping_number = 0;
  bool ping_open = false;
  MonotonicNs ping_sent_ns = 0;
  MonotonicNs ticked_ns = 0;

  // local_endpoint.cc: the driver
  InFlight* find(TaskId task);
  const InFlight* find(TaskId task) const;
  void forget(InFlight& entry);
  Status fail_here(TaskId task, Status why);
  DispatchResult push(const Dispatch& task, FrameHeader header, std::span<const std::byte> body);
  DispatchResult wait_for_edge();
  Result<SpillData> spill(const Dispatch& task);
  std::size_t drain(EndpointEvents& events);
  bool complete(const RingFrame& frame, EndpointEvents& events);
  Status error_of(std::span<const std::byte> bytes, Status& bad) const;
  std::size_t report_news(std::uint32_t known, EndpointEvents& events);
  void go_down(const Status& why, std::uint32_t known, EndpointEvents& events);
  static bool may_go(std::uint32_t known);

  // local_endpoint_control.cc: any thread
  void note(News what);
  void end(const Status& why);
  void end_locked(const Status& why);
  Status located(const Status& why) const;
  Status why_down(std::uint32_t known) const;
  Status death_locked() const;
  bool request_stack_locked();
  bool send_control_locked(FrameKind kind, std::uint64_t token);
  PushResult push_control_locked(const FrameHeader& header, std::span<const std::byte> body,
                                 WakeBatch* wakes = nullptr);
  DispatchResult send_registration(const FrameHeader& header, std::span<const std::byte> body,
                                   WakeBatch* wakes);
  void take_registration_locked(const RingFrame& frame);
  void read_control_locked();
  void take_control_locked(const RingFrame& frame);
};

}  // namespace echelon
