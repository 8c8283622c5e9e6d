// SPDX-License-Identifier: Apache-2.0
//
// UcxCore: a lane over a UcxLink. It outlives its Lane by what is under way.
//
//   greeting ──WELCOME──> up ──close()──> closing   CLOSED is sent; what still comes is dropped
//      │                  │                  └──peer's CLOSED, or kLinger──> over
//      │                  ├──peer's CLOSED──> closed by peer   CLOSED is sent, too
//      │                  │                  └──connection ends, or kLinger──> over
//      │                  └──connection breaks, bad message──> over
//      └──refused, late, broken──> over
//
// Invariants: UCX-1 what was sent and the peer has not taken is at most kLaneBufferBytes. UCX-2 so
// is what came and was not taken: who sends more is cut off. UCX-3 CLOSED goes through whatever
// room there is, as it costs none.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "remote/lane.h"
#include "remote/ucx/ucx_link.h"
#include "remote/ucx/ucx_watch.h"

namespace echelon {

/// How an end begins.
struct UcxGreeting {
  /// The listening end, on the watch's thread: who may come in; then either of the other two.
  std::function<Status(LaneRole role, std::string_view token)> admit;
  std::function<void(LaneRole role, std::unique_ptr<Lane> lane)> let_in;
  std::function<void(LaneRole role)> left;
  /// What the peer is called in errors.
  std::string peer;
};

class UcxCore final : public UcxWatched,
                      private UcxLinkEvents,
                      public std::enable_shared_from_this<UcxCore> {
 public:
  static Result<std::shared_ptr<UcxCore>> make(UcxGreeting greeting);
  ~UcxCore() override;

  /// The connecting end: until it is up, or `deadline_ns`. Then the watch has it.
  Status connect(const sockaddr* address, socklen_t bytes, LaneRole role, std::string_view token,
                 MonotonicNs deadline_ns);
  /// The listening end: HELLO is to come within the deadline.
  Status accept(ucp_conn_request_h request, MonotonicNs deadline_ns);
  /// It has not said who it is.
  bool is_stranger();
  /// Before it is up.
  void set_options(LaneOptions options);

  LaneSend try_send(LaneSegments segments);
  std::size_t poll(LaneEvents& events);
  bool has_news();
  void close(const Status& why);
  /// Its Lane is destroyed: notify() is not called any more.
  void abandon();

  // UcxWatched
  bool tend(Why why) override;
  void release() override;
  int event_fd() const override { return event_fd_; }
  MonotonicNs deadline_ns() const override { return deadline_.load(std::memory_order_relaxed); }
  bool polled() const override { return !armed_.load(std::memory_order_relaxed); }

 private:
  struct Slot {
    UcxBuffer data;
    std::size_t bytes = 0;
    bool claimed = false;
    bool ready = false;
  };
  struct Hello {
    LaneRole role = LaneRole::kTask;
    std::string token;
    Status wrong;
  };
  enum class State : std::uint8_t { kGreeting, kUp, kClosing, kClosedByPeer, kOver };

  explicit UcxCore(UcxGreeting greeting) : greeting_(std::move(greeting)) {}

  // UcxLinkEvents
  void on_active(UcxId id, std::span<const std::byte> header,
                 std::span<const std::byte> data) override;
  std::byte* on_offered(std::span<const std::byte> header, std::size_t bytes,
                        std::uint64_t& number) override;
  void on_fetched(std::uint64_t number, bool ok) override;
  void on_broken(ucs_status_t why) override;

  void take_hello_locked(std::span<const std::byte> header, std::span<const std::byte> data);
  void take_welcome_locked(std::span<const std::byte> header, std::span<const std::byte> data);
  Slot* take_place_locked(UcxNumbers numbers, std::size_t bytes);
  bool note_taken_locked(std::uint64_t taken);
  void take_closed_locked(UcxNumbers numbers, std::span<const std::byte> words);
  void hear_closed_locked();
  void bad_peer_locked(std::string what);

  std::unique_lock<std::mutex> lock_to_send();
  bool progress_locked(int rounds);
  bool settle_locked();
  bool arm_locked();
  void end_locked(const Status& here, UcxEnd end, std::span<const std::byte> words);
  void go_down_locked(Status why);
  void over_locked();
  Status connect_error(ucs_status_t why) const;
  void note_news_locked();
  void tell_taken_locked();
  void welcome(std::unique_lock<std::mutex>& lock);
  Status await_welcome(MonotonicNs deadline_ns);
  void call_notify();
  void set_deadline_locked(MonotonicNs when);

  const UcxGreeting greeting_;
  int event_fd_ = -1;
  std::atomic<bool> news_{false};
  std::atomic<bool> armed_{false};
  std::atomic<MonotonicNs> deadline_{0};
  std::atomic<std::uint32_t> polls_{0};
  std::atomic<std::uint32_t> senders_{0};  // that wait for the lock
  std::uint32_t polls_seen_ = 0;           // the watch's

  std::mutex notify_mutex_;  // never taken under mutex_
  std::function<void()> notify_;

  std::vector<Slot> delivery_;  // poll()'s

  std::mutex mutex_;  // guards all below
  SystemEnv env_;
  std::unique_ptr<UcxLink> link_;
  State state_ = State::kGreeting;
  std::optional<Hello> hello_;  // came, and was not answered
  std::optional<Status> welcomed_;
  bool down_ = false;
  bool down_reported_ = false;
  Status why_;
  bool tell_ = false;  // notify() is to be called

  std::uint64_t sent_ = 0;  // messages
  std::uint64_t sent_cost_ = 0;
  std::uint64_t peer_took_ = 0;  // of that
  std::size_t wanted_ = 0;       // room that the sender was refused; 0: it waits for none

  std::deque<Slot> inbox_;  // from number first_ on
  std::uint64_t first_ = 0;
  std::uint64_t arrived_ = 0;  // whole messages
  std::uint64_t came_cost_ = 0;
  std::uint64_t took_cost_ = 0;  // of that
  std::uint64_t told_cost_ = 0;  // of that, known to the peer
  std::optional<std::uint64_t> peer_closed_at_;
  Status peer_words_;
  UcxEnd peer_end_ = UcxEnd::kPlain;
  UcxBuffers buffers_;
};

/// The Lane of it.
std::unique_ptr<Lane> make_ucx_lane(std::shared_ptr<UcxCore> core);

}  // namespace echelon
