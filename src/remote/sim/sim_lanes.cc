// SPDX-License-Identifier: Apache-2.0
#include "remote/sim/sim_lanes.h"

#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "base/check.h"
#include "remote/lane_words.h"

namespace echelon {
namespace {

/// What a message costs beside its bytes, so that empty ones are bounded, too.
constexpr std::size_t kMessageCost = 64;

struct End {
  // Guards `notify` against the end's destruction; never taken together with Link::mutex.
  std::mutex notify_mutex;
  std::function<void()> notify;

  // Guarded by Link::mutex.
  std::deque<std::vector<std::byte>> inbox;
  std::size_t inbox_bytes = 0;
  std::size_t peer_wants = 0;  // room that the peer was refused; 0: it waits for none
  bool down = false;
  bool down_reported = false;
  Status why;

  std::atomic<bool> news{false};

  void note_news_locked() {
    // pairs with has_news(): that a message is in the inbox
    news.store(!inbox.empty() || (down && !down_reported), std::memory_order_seq_cst);
  }
  void go_down_locked(Status status) {
    if (down) return;
    down = true;
    why = std::move(status);
    note_news_locked();
  }
  void call_notify() {
    const std::lock_guard lock(notify_mutex);
    if (notify) notify();
  }
};

struct Link {
  std::mutex mutex;
  std::array<End, 2> ends;
};

std::vector<std::byte> join(LaneSegments segments, std::size_t bytes) {
  std::vector<std::byte> message(bytes);
  std::size_t at = 0;
  for (const auto segment : segments) {
    if (segment.empty()) continue;
    std::memcpy(message.data() + at, segment.data(), segment.size());
    at += segment.size();
  }
  return message;
}

class SimLane final : public Lane {
 public:
  SimLane(std::shared_ptr<Link> link, std::size_t own)
      : link_(std::move(link)), own_(link_->ends[own]), peer_(link_->ends[1 - own]) {}

  ~SimLane() override {
    {
      const std::lock_guard lock(own_.notify_mutex);
      own_.notify = nullptr;
    }
    go_down(lane_peer_gone(), lane_peer_gone());
  }

  LaneSend try_send(LaneSegments segments) override {
    std::size_t bytes = 0;
    for (const auto segment : segments) bytes += segment.size();
    ECHELON_CHECK(bytes <= kLaneMessageBytesMax, bytes);
    {
      const std::lock_guard lock(link_->mutex);
      if (own_.down) return LaneSend::kDown;
      const std::size_t cost = bytes + kMessageCost;
      if (peer_.inbox_bytes + cost > kLaneBufferBytes) {
        peer_.peer_wants = cost;
        return LaneSend::kNoRoom;
      }
      peer_.inbox.push_back(join(segments, bytes));
      peer_.inbox_bytes += cost;
      peer_.note_news_locked();
    }
    peer_.call_notify();
    return LaneSend::kSent;
  }

  std::size_t poll(LaneEvents& events) override {
    std::size_t count = 0;
    // What arrives meanwhile is the next poll's, so that a busy sender does not hold the reader.
    for (std::size_t left = waiting(); left != 0; --left, ++count) {
      std::vector<std::byte> message = take_message();
      events.on_message(message);
    }
    if (Status why; take_down(why)) {
      events.on_down(why);
      ++count;
    }
    return count;
  }

  bool has_news() const override {
    // pairs with note_news_locked(): either it is seen here, or notify() comes after the caller
    // slept
    return own_.news.load(std::memory_order_seq_cst);
  }

  void close(const Status& why) override {
    go_down(lane_closed_here(why), lane_closed_by_peer(why));
  }

  std::string_view implementation() const override { return "sim"; }

 private:
  std::size_t waiting() {
    const std::lock_guard lock(link_->mutex);
    return own_.inbox.size();
  }

  std::vector<std::byte> take_message() {
    std::vector<std::byte> message;
    bool room = false;
    {
      const std::lock_guard lock(link_->mutex);
      message = std::move(own_.inbox.front());
      own_.inbox.pop_front();
      own_.inbox_bytes -= message.size() + kMessageCost;
      room = own_.peer_wants != 0 && own_.inbox_bytes + own_.peer_wants <= kLaneBufferBytes;
      if (room) own_.peer_wants = 0;
      own_.note_news_locked();
    }
    if (room) peer_.call_notify();
    return message;
  }

  bool take_down(Status& why) {
    const std::lock_guard lock(link_->mutex);
    if (!own_.down || own_.down_reported || !own_.inbox.empty()) return false;
    own_.down_reported = true;
    own_.note_news_locked();
    why = own_.why;
    return true;
  }

  void go_down(Status here, Status there) {
    {
      const std::lock_guard lock(link_->mutex);
      if (own_.down) return;
      own_.go_down_locked(std::move(here));
      peer_.go_down_locked(std::move(there));
    }
    own_.call_notify();
    peer_.call_notify();
  }

  std::shared_ptr<Link> link_;
  End& own_;
  End& peer_;
};

}  // namespace

SimLanes make_sim_lanes(LaneOptions options_a, LaneOptions options_b) {
  auto link = std::make_shared<Link>();
  link->ends[0].notify = std::move(options_a.notify);
  link->ends[1].notify = std::move(options_b.notify);
  return {.a = std::make_unique<SimLane>(link, 0), .b = std::make_unique<SimLane>(link, 1)};
}

}  // namespace echelon
