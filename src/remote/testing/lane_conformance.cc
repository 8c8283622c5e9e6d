// SPDX-License-Identifier: Apache-2.0
//
// What every implementation of Lane does (remote/lane.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

std::vector<std::string> numbered(std::size_t count, std::size_t bytes) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    texts.push_back(std::to_string(i) + std::string(bytes, static_cast<char>('a' + i % 26)));
  }
  return texts;
}

ErrorInfo words(std::string message) {
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  info.cause = Cause::kSignal;
  info.message = std::move(message);
  info.path = "pod0/host1";
  info.signal = 11;
  return info;
}

TEST_P(LaneConformanceTest, MessagesArriveWholeAndInOrder) {
  const std::vector<std::string> sent = numbered(2'000, 100);
  std::thread sender([&] { a_.send_all(sent); });
  EXPECT_TRUE(b_.poll_until_messages(sent.size()));
  sender.join();
  EXPECT_EQ(b_.messages, sent);
}

TEST_P(LaneConformanceTest, AMessageMayBeEmptyOrAsLargeAsItMayBe) {
  std::vector<std::string> sent = {"", "x", std::string(kLaneMessageBytesMax, 'y'), "", "z"};
  sent[2].front() = 'b';
  sent[2].back() = 'e';
  std::thread sender([&] { a_.send_all(sent); });
  EXPECT_TRUE(b_.poll_until_messages(sent.size()));
  sender.join();
  EXPECT_TRUE(b_.messages == sent);  // not EXPECT_EQ, which would print them
}

TEST_P(LaneConformanceTest, BothWaysAtOnce) {
  const std::vector<std::string> sent = numbered(64, 256 << 10);
  std::thread from_a([&] { a_.send_all(sent); });
  std::thread from_b([&] { b_.send_all(sent); });
  std::thread at_a([&] { a_.poll_until_messages(sent.size()); });
  EXPECT_TRUE(b_.poll_until_messages(sent.size()));
  at_a.join();
  from_a.join();
  from_b.join();
  EXPECT_TRUE(a_.messages == sent);
  EXPECT_TRUE(b_.messages == sent);
}

TEST_P(LaneConformanceTest, AReaderThatDoesNotPollStopsTheWriter) {
  const std::string piece(64 << 10, 'p');
  // LANE-2: each end holds so much, and what is under way between them is bounded, too.
  constexpr std::size_t kPiecesMax = 4 * kLaneBufferBytes / (64 << 10);
  std::size_t sent = 0;
  // A refusal is final only where room does not come.
  for (int refusals = 0; refusals < 20; ++refusals) {
    while (a_.send(piece) == LaneSend::kSent) ASSERT_LE(++sent, kPiecesMax);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GE(sent * piece.size(), kLaneBufferBytes / 2);
  // The reader comes back: everything arrives, and the writer hears of the room.
  std::thread reader([&] { b_.poll_until_messages(sent + 1); });
  LaneSend last = a_.send(piece);
  while (last == LaneSend::kNoRoom && a_.sleep()) last = a_.send(piece);
  EXPECT_EQ(last, LaneSend::kSent);
  reader.join();
  EXPECT_EQ(b_.messages.size(), sent + 1);
  EXPECT_TRUE(std::all_of(b_.messages.begin(), b_.messages.end(),
                          [&](const std::string& message) { return message == piece; }));
}

TEST_P(LaneConformanceTest, MessagesOfNoBytesAreBoundedToo) {
  // Below one a byte of what may be held: each costs something everywhere on its way.
  constexpr std::size_t kMessagesMax = kLaneBufferBytes;
  std::size_t sent = 0;
  for (int refusals = 0; refusals < 5; ++refusals) {
    while (a_.send("") == LaneSend::kSent) ASSERT_LE(++sent, kMessagesMax);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(b_.poll_until_messages(sent));
  EXPECT_EQ(b_.messages.size(), sent);
}

TEST_P(LaneConformanceTest, NotifyWakesWhoSleeps) {
  // A wake-up each way, over and over: each sleeps before the other sends.
  constexpr int kRounds = 200;
  std::thread echo([&] {
    for (int i = 1; i <= kRounds; ++i) {
      if (!b_.poll_until_messages(static_cast<std::size_t>(i))) return;
      b_.send("back");
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    EXPECT_EQ(a_.send("there"), LaneSend::kSent);
    ASSERT_TRUE(a_.poll_until_messages(static_cast<std::size_t>(i)));
  }
  echo.join();
}

TEST_P(LaneConformanceTest, NotifyWakesWhoNeverAsksForNews) {
  EXPECT_EQ(b_.poll(), 0U);
  EXPECT_EQ(a_.send("one"), LaneSend::kSent);
  EXPECT_TRUE(b_.sleep());
  while (b_.messages.empty()) b_.poll();
  for (int i = 0; i < 100; ++i) b_.poll();  // it looked busy, and then sleeps without a word
  EXPECT_EQ(a_.send("two"), LaneSend::kSent);
  EXPECT_TRUE(b_.sleep());
  EXPECT_TRUE(b_.poll_until_messages(2));
}

TEST_P(LaneConformanceTest, AQuietLaneHasNoNews) {
  EXPECT_FALSE(a_.lane().has_news());
  EXPECT_EQ(a_.poll(), 0U);
  EXPECT_EQ(a_.lane().implementation(), b_.lane().implementation());
}

TEST_P(LaneConformanceTest, CloseComesAfterWhatWasSentWithItsWords) {
  const std::vector<std::string> sent = numbered(100, 10'000);
  a_.send_all(sent);
  a_.lane().close(Status(words("the session crashed")));
  EXPECT_EQ(a_.send("late"), LaneSend::kDown);
  ASSERT_TRUE(b_.poll_until_down());
  EXPECT_TRUE(b_.messages == sent);
  const ErrorInfo& heard = b_.downs.at(0).info();
  EXPECT_EQ(heard.message, "the other end closed the lane: the session crashed");
  EXPECT_EQ(heard.code, Code::kUnavailable);
  EXPECT_EQ(heard.reason, Reason::kChildDied);
  EXPECT_EQ(heard.path, "pod0/host1");
  EXPECT_EQ(heard.signal, 11);
  EXPECT_EQ(b_.send("late"), LaneSend::kDown);
  // At this end, too, once, in its own words.
  ASSERT_TRUE(a_.poll_until_down());
  EXPECT_EQ(a_.downs.at(0).info().message, "the session crashed");
  EXPECT_EQ(a_.poll() + b_.poll(), 0U);
  EXPECT_EQ(a_.downs.size() + b_.downs.size(), 2U);
}

TEST_P(LaneConformanceTest, TheOtherEndCanCloseJustAsWell) {
  EXPECT_EQ(b_.send("last"), LaneSend::kSent);
  b_.lane().close(Status());
  ASSERT_TRUE(a_.poll_until_down());
  EXPECT_EQ(a_.messages, std::vector<std::string>{"last"});
  EXPECT_EQ(a_.downs.at(0).info().message, "the other end closed the lane");
  EXPECT_EQ(a_.downs.at(0).code(), Code::kCancelled);
}

void close_and_destroy(LaneEnd& end, LaneEnd& other) {
  EXPECT_EQ(end.send("last"), LaneSend::kSent);
  end.lane().close(Status(words("gone")));
  end.destroy_lane();
  ASSERT_TRUE(other.poll_until_down());
  EXPECT_EQ(other.messages, std::vector<std::string>{"last"});
  EXPECT_EQ(other.downs.at(0).info().message, "the other end closed the lane: gone");
}

TEST_P(LaneConformanceTest, WordsStillArriveWhenTheLaneIsDestroyedAtOnce) {
  close_and_destroy(a_, b_);
}

TEST_P(LaneConformanceTest, WordsStillArriveFromTheOtherEndThatIsDestroyed) {
  close_and_destroy(b_, a_);
}

TEST_P(LaneConformanceTest, BothMayCloseAtOnce) {
  std::thread closer([&] { a_.lane().close(Status(words("a"))); });
  b_.lane().close(Status(words("b")));
  closer.join();
  EXPECT_TRUE(a_.poll_until_down());
  EXPECT_TRUE(b_.poll_until_down());
}

TEST_P(LaneConformanceTest, AnEndThatIsDestroyedIsHeardOf) {
  EXPECT_EQ(b_.send("unread"), LaneSend::kSent);
  b_.destroy_lane();
  ASSERT_TRUE(a_.poll_until_down());
  EXPECT_EQ(a_.downs.at(0).code(), Code::kUnavailable) << a_.downs.at(0).to_string();
  EXPECT_EQ(a_.send("late"), LaneSend::kDown);
  EXPECT_EQ(a_.poll(), 0U);
}

TEST_P(LaneConformanceTest, AnEndThatIsDestroyedWhileTheOtherSendsStopsIt) {
  const std::string piece(256 << 10, 'p');
  std::thread sender([&] {
    LaneSend sent = LaneSend::kSent;
    while (sent != LaneSend::kDown) {
      sent = a_.send(piece);
      if (sent == LaneSend::kNoRoom && !a_.sleep()) break;
    }
    EXPECT_EQ(sent, LaneSend::kDown);
  });
  EXPECT_TRUE(b_.poll_until_messages(8));
  b_.destroy_lane();
  sender.join();
  EXPECT_TRUE(a_.poll_until_down());
}

TEST_P(LaneConformanceTest, AnEndThatIsDestroyedWhileTheOtherHasNoRoomIsHeardOf) {
  const std::string piece(1 << 20, 'p');
  while (a_.send(piece) == LaneSend::kSent) {}
  b_.destroy_lane();
  ASSERT_TRUE(a_.poll_until_down());
  EXPECT_EQ(a_.downs.at(0).code(), Code::kUnavailable) << a_.downs.at(0).to_string();
}

TEST_P(LaneConformanceTest, ADestroyedLaneNotifiesNobody) {
  b_.destroy_lane();
  const std::size_t rings = b_.rings();
  a_.send("nobody reads this");
  a_.lane().close(Status());
  ASSERT_TRUE(a_.poll_until_down());
  EXPECT_EQ(b_.rings(), rings);
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LaneConformanceTest);

}  // namespace echelon
