// SPDX-License-Identifier: Apache-2.0
//
// A thousand sessions of one parent over simulated lanes, all on this thread: what concerns one of
// them is no matter of the others'.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "remote/testing/session_rig.h"
#include "remote/wire.h"

namespace echelon {
namespace {

constexpr std::size_t kSessions = 1000;

/// The session's end: greets, answers pings, and does each task at once.
class Answers final : public LaneEvents {
 public:
  explicit Answers(SessionRig& rig) : rig_(rig) {}

  void serve() {
    for (const LaneRole role : {LaneRole::kTask, LaneRole::kHealth}) {
      lane_ = &rig_.peer(role);
      lane_->poll(*this);
    }
  }
  std::size_t tasks() const { return tasks_; }

  void on_message(std::span<const std::byte> message) override {
    LaneFrameReader reader(message);
    LaneFrame frame;
    while (reader.next(frame)) answer(frame);
    EXPECT_TRUE(reader.status().ok()) << reader.status().to_string();
  }
  void on_down(const Status&) override {}

 private:
  void answer(const LaneFrame& frame) {
    const auto hello = encode_hello({kRemoteProtocolMajor, kRemoteProtocolMinor});
    LaneFrame back;
    back.task = frame.task;
    switch (frame.kind) {
      case FrameKind::kHello:
        back.kind = FrameKind::kHello;
        back.task = 0;
        back.body = hello;
        break;
      case FrameKind::kPing:
        back.kind = FrameKind::kPong;
        break;
      case FrameKind::kSubTask:
        back.kind = FrameKind::kCompletion;
        ++tasks_;
        break;
      default:
        return;
    }
    EXPECT_EQ(send_frame(*lane_, back), LaneSend::kSent);
  }

  SessionRig& rig_;
  Lane* lane_ = nullptr;
  std::size_t tasks_ = 0;
};

class AThousand : public testing::Test {
 protected:
  AThousand() {
    SessionRig::Options options;
    options.serve = false;
    for (std::size_t i = 0; i < kSessions; ++i) {
      if (i == kSilent) options.endpoint.silent_max = std::chrono::milliseconds(300);
      rigs.push_back(std::make_unique<SessionRig>(options));
      options.endpoint = SessionRig::patient();
      answers.push_back(std::make_unique<Answers>(*rigs.back()));
    }
  }

  /// One round over all: the sessions but those that are silent, then the parent.
  void pump() {
    for (std::size_t i = 0; i < kSessions; ++i) {
      if (!silent[i]) answers[i]->serve();
    }
    for (const auto& rig : rigs) {
      rig->endpoint().tick(rig->env.now_ns());
      rig->endpoint().poll(*rig);
    }
  }
  bool pump_until(const std::function<bool()>& condition) {
    const MonotonicNs end = rigs.front()->env.now_ns() + 60'000'000'000;
    while (!condition()) {
      if (rigs.front()->env.now_ns() > end) return false;
      pump();
    }
    return true;
  }
  std::size_t count_done() const {
    return static_cast<std::size_t>(std::count_if(
        rigs.begin(), rigs.end(), [](const auto& rig) { return rig->done.contains(1); }));
  }
  std::size_t count_down() const {
    return static_cast<std::size_t>(
        std::count_if(rigs.begin(), rigs.end(), [](const auto& rig) { return rig->down != 0; }));
  }

  static constexpr std::size_t kSilent = kSessions / 2;
  std::vector<std::unique_ptr<SessionRig>> rigs;
  std::vector<std::unique_ptr<Answers>> answers;
  std::vector<bool> silent = std::vector<bool>(kSessions);
};

TEST_F(AThousand, SessionsAreAllReadyAndDoATaskEach) {
  for (const auto& rig : rigs) {
    EXPECT_EQ(rig->endpoint().start_progress().state, StartState::kReady);
    rig->send(1, TestTask::kEmpty);
  }
  ASSERT_TRUE(pump_until([&] { return count_done() == kSessions; }));
  for (std::size_t i = 0; i < kSessions; ++i) {
    EXPECT_TRUE(rigs[i]->done[1].status.ok());
    EXPECT_EQ(answers[i]->tasks(), 1U);
  }
  EXPECT_EQ(count_down(), 0U);
}

TEST_F(AThousand, OneThatStandsStillIsLostAloneAndDelaysNobody) {
  for (const auto& rig : rigs) rig->send(1, TestTask::kEmpty);
  silent[kSilent] = true;
  ASSERT_TRUE(pump_until([&] { return count_done() == kSessions - 1; }));
  ASSERT_TRUE(pump_until([&] { return rigs[kSilent]->down == 1; }));
  EXPECT_NE(rigs[kSilent]->why.info().message.find("not been heard"), std::string::npos);
  EXPECT_EQ(count_down(), 1U);
  for (const auto& rig : rigs) {
    if (rig != rigs[kSilent]) rig->send(2, TestTask::kEmpty);
  }
  ASSERT_TRUE(pump_until([&] {
    return std::all_of(rigs.begin(), rigs.end(), [&](const auto& rig) {
      return rig == rigs[kSilent] || rig->done.contains(2);
    });
  }));
}

TEST_F(AThousand, HundredThatDieAtOnceAreGoneAndTheOthersGoOn) {
  for (std::size_t i = 0; i < kSessions; i += 10) {
    silent[i] = true;
    rigs[i]->kill();
  }
  ASSERT_TRUE(pump_until([&] { return count_down() == kSessions / 10; }));
  for (std::size_t i = 0; i < kSessions; ++i) {
    if (i % 10 != 0) rigs[i]->send(1, TestTask::kEmpty);
  }
  ASSERT_TRUE(pump_until([&] { return count_done() == kSessions - kSessions / 10; }));
}

}  // namespace
}  // namespace echelon
