// SPDX-License-Identifier: Apache-2.0
//
// For tests of lanes: two ends that are each other's peer, with what each has heard.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "remote/lane.h"

namespace echelon {

/// Ends a test that hangs; nothing is measured with it.
inline constexpr std::chrono::seconds kLaneTestPatience{20};

/// One end: a lane, and somebody who sleeps until notify() is called.
class LaneEnd final : public LaneEvents {
 public:
  // The lane first: it rings until it is gone.
  ~LaneEnd() { destroy_lane(); }

  LaneOptions options() {
    return {.notify = [this] { ring(); }};
  }
  void take(std::unique_ptr<Lane> lane) {
    const std::lock_guard lock(mutex_);
    lane_ = std::move(lane);
    bell_.notify_all();
  }
  /// Waits until a listener has let a lane in.
  bool await_lane();
  Lane& lane() { return *lane_; }
  void destroy_lane() { lane_.reset(); }

  LaneSend send(std::string_view text);
  /// Sleeps where there is no room.
  void send_all(const std::vector<std::string>& texts);
  std::size_t poll() { return lane_->poll(*this); }
  /// Polls, and sleeps until notify() is called where there is nothing, until `condition` holds.
  /// False: it did not within kLaneTestPatience.
  bool poll_until(const std::function<bool()>& condition);
  bool poll_until_down() {
    return poll_until([this] { return !downs.empty(); });
  }
  bool poll_until_messages(std::size_t count) {
    return poll_until([this, count] { return messages.size() >= count; });
  }
  /// Sleeps until notify() is called; false: it was not.
  bool sleep();
  std::size_t rings();

  void on_message(std::span<const std::byte> message) override {
    messages.emplace_back(reinterpret_cast<const char*>(message.data()), message.size());
  }
  void on_down(const Status& why) override { downs.push_back(why); }

  std::vector<std::string> messages;
  std::vector<Status> downs;

 private:
  void ring();

  std::unique_ptr<Lane> lane_;
  std::mutex mutex_;
  std::condition_variable bell_;
  std::size_t rung_ = 0;
  std::size_t heard_ = 0;
};

/// An implementation under test.
class LaneRig {
 public:
  virtual ~LaneRig() = default;
  virtual void connect(LaneEnd& a, LaneEnd& b) = 0;
};

struct LaneRigMaker {
  std::string name;
  std::function<std::unique_ptr<LaneRig>()> make;
};
inline void PrintTo(const LaneRigMaker& maker, std::ostream* out) {
  *out << maker.name;
}

/// lane_conformance.cc; each implementation's test instantiates it.
class LaneConformanceTest : public testing::TestWithParam<LaneRigMaker> {
 protected:
  void SetUp() override {
    rig_ = GetParam().make();
    ASSERT_NO_FATAL_FAILURE(rig_->connect(a_, b_));
  }

  std::unique_ptr<LaneRig> rig_;
  LaneEnd a_;
  LaneEnd b_;
};

inline std::string lane_rig_name(const testing::TestParamInfo<LaneRigMaker>& info) {
  return info.param.name;
}

}  // namespace echelon
