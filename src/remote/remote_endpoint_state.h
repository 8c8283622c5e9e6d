// SPDX-License-Identifier: Apache-2.0
//
// What a RemoteEndpoint is made of; shared by its two source files alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "remote/data_client.h"
#include "remote/peer_copies.h"
#include "remote/remote_endpoint.h"
#include "remote/wire.h"
#include "shm/task_body.h"

namespace echelon {

struct RemoteEndpoint::State {
  State(RemoteEndpointOptions given, Env& clock) : options(std::move(given)), env(clock) {
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint8_t>(i);
  }

  /// What has become known beside the lanes' messages; only ever set.
  enum News : std::uint32_t {
    kEndAsked = 1,       // terminate(), a bad message
    kLosing = 2,         // a lane is down, health is silent, or its daemon says that it ended
    kEnded = 4,          // its daemon has said how
    kTaskLaneDown = 8,   // nothing more comes
    kWaitedEnough = 16,  // for last words
  };
  enum class Where : std::uint8_t { kHere, kSending, kSent, kCopying };
  struct Entry {
    TaskId task;
    FrameKind kind = FrameKind::kNone;
    std::uint32_t slot = 0;
    MonotonicNs deadline_ns = 0;
    Where where = Where::kHere;
    std::size_t sent_bytes = 0;   // kSending: of a body that goes in pieces
    std::vector<std::byte> body;  // keeps its size from task to task
  };
  /// Messages of the lane that poll() reads, for as long as it does.
  struct TaskEvents final : LaneEvents {
    TaskEvents(State& of, EndpointEvents& to) : state(of), events(to) {}
    void on_message(std::span<const std::byte> message) override;
    void on_down(const Status& why) override;
    State& state;
    EndpointEvents& events;
    std::size_t count = 0;
  };
  struct HealthEvents final : LaneEvents {
    explicit HealthEvents(State& of) : state(of) {}
    void on_message(std::span<const std::byte> message) override {
      state.take_health_locked(message);
    }
    void on_down(const Status& why) override { state.lose_locked(broken("health", why)); }
    State& state;
  };

  const RemoteEndpointOptions options;
  Env& env;
  DataClient data;
  /// Copies from here to other sessions. The driver's.
  PeerCopies peers{data, options.path, env, [this] {
                     poked.store(true, std::memory_order_seq_cst);  // pairs with has_news()
                     if (options.wake) options.wake();
                   }};

  // Set once, by attach(), before `up`.
  std::unique_ptr<Lane> task_lane;
  std::unique_ptr<Lane> health_lane;  // used under `mutex`
  Uid pool;
  std::string address;  // where its lanes listen
  std::string host;
  pid_t pid = 0;
  std::atomic<bool> up{false};

  // The driver's.
  std::array<Entry, kRemoteWindowMax> entries;
  std::array<std::uint8_t, kRemoteWindowMax>
      order{};  // the first `count`: unfinished, oldest first
  std::uint32_t count = 0;
  std::uint32_t sent = 0;
  bool sent_since_poll = false;
  BodyAssembly assembly;
  TaskBody copy_body;
  std::vector<std::pair<TaskId, Status>> failed_here;  // reported by the next poll()
  std::vector<std::pair<TaskId, Status>> copies_ended;

  std::atomic<bool> poked{false};  // a lane has something, or has room again
  /// Answers on the health lane that somebody waits for; a pong has time until the next tick().
  std::atomic<std::int32_t> awaited{0};
  std::atomic<bool> data_poked{false};  // the data lane does
  std::atomic<std::uint32_t> news{0};
  std::atomic<MonotonicNs> losing_since_ns{0};
  std::atomic<bool> down{false};
  std::atomic<bool> gone{false};
  std::atomic<std::uint64_t> dispatched{0}, completed{0}, failed{0}, recalled{0}, batches{0},
      pings{0};

  mutable std::mutex mutex;  // guards all below, and the health lane
  std::string phase;
  Status end_why;   // terminate(), a bad message
  Status ended;     // its daemon's word
  Status farewell;  // its own
  Status lost_why;  // what was noticed first
  Status down_why;  // what poll() has reported
  Status shutdown_why;
  bool greeted = false;
  std::optional<StatsReply> stats_reply;
  std::vector<RegistrationReply> registration_replies;
  std::atomic<bool> registration_answered{false};  // there are some; read without the lock
  std::string stack;
  bool stack_asked = false;
  std::uint64_t ping_number = 0;
  bool ping_open = false;
  MonotonicNs ping_sent_ns = 0;
  MonotonicNs heard_ns = 0;  // when it last lived for certain
  MonotonicNs ticked_ns = 0;

  // remote_endpoint.cc: the driver
  bool is_up() const { return up.load(std::memory_order_acquire); }  // pairs with attach()
  bool quiet() const;
  Entry* find(TaskId task);
  const Entry* find(TaskId task) const { return const_cast<State*>(this)->find(task); }
  Entry& append(const Dispatch& task);
  void forget(const Entry& entry);
  void fail_here(TaskId task, const Status& why);
  bool is_transfer(const Dispatch& task);
  Result<RemoteCopy> transfer_of(TaskId task) const;
  bool start_transfer(const Dispatch& task);
  /// The session that the copy in copy_body goes to, from this one to another; nullptr: it is no
  /// such copy.
  RemoteEndpoint* peer_of_copy() const;
  Status start_direct(const Dispatch& task, const RemoteEndpoint& to);
  bool is_fenced(const Entry& entry);
  void flush();
  bool flush_batch();
  LaneSend send_pieces(Entry& entry);
  void mark_sent(Entry& entry);
  std::size_t poll_lanes(EndpointEvents& events);
  std::size_t report_ends(EndpointEvents& events);
  Status complete(LaneFrame& frame, EndpointEvents& events);
  void complete_entry(Entry& entry, Completion completion, EndpointEvents& events);
  bool may_go_down(std::uint32_t known) const;
  void go_down(EndpointEvents& events);

  // remote_endpoint_control.cc: any thread
  static Status broken(std::string_view lane, const Status& why);
  void note(News what);
  void end(const Status& why);
  void end_locked(const Status& why);
  void lose_locked(const Status& why);
  Status located(const Status& why) const;
  Status why_down_locked() const;
  bool request_stack_locked();
  LaneSend send_health_locked(const LaneFrame& frame);
  bool send_control_locked(FrameKind kind, std::uint64_t token);
  DispatchResult send_registration(const LaneFrame& frame);
  void read_health_locked();
  void take_health_locked(std::span<const std::byte> message);
  Status take_control_locked(const LaneFrame& frame);
  void wake() const;
};

}  // namespace echelon
