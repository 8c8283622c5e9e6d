// SPDX-License-Identifier: Apache-2.0
#include "process/spawn_protocol.h"

#include <gtest/gtest.h>

#include <string>

namespace echelon {
namespace {

constexpr MonotonicNs kMs = 1'000'000;

std::vector<std::byte> bytes_of(const DownMessage& message) {
  auto bytes = encode(message);
  EXPECT_TRUE(bytes.ok());
  return std::move(bytes).value();
}

std::vector<std::byte> bytes_of(const UpMessage& message) {
  auto bytes = encode(message);
  EXPECT_TRUE(bytes.ok());
  return std::move(bytes).value();
}

SpawnRequest request(std::uint32_t index) {
  SpawnRequest one;
  one.spec.index = ChildIndex{index};
  one.spec.kind = ChildKind::kChip;
  one.spec.uid = Uid{0x1234567890};
  one.spec.path = "pod0/host1/chip0";
  one.spec.name = "chip0";
  one.spec.arguments = {"--driver", "cpu", ""};
  one.expected_parent = 77;
  return one;
}

TEST(SpawnProtocolTest, ARequestArrivesWhole) {
  const auto decoded = decode_down(bytes_of(DownMessage(request(3))));
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  const auto& got = std::get<SpawnRequest>(decoded.value());
  EXPECT_EQ(got.spec.index, ChildIndex{3});
  EXPECT_EQ(got.spec.kind, ChildKind::kChip);
  EXPECT_EQ(got.spec.uid, Uid{0x1234567890});
  EXPECT_EQ(got.spec.path, "pod0/host1/chip0");
  EXPECT_EQ(got.spec.name, "chip0");
  EXPECT_EQ(got.spec.arguments, (std::vector<std::string>{"--driver", "cpu", ""}));
  EXPECT_EQ(got.expected_parent, 77);
}

TEST(SpawnProtocolTest, OnlyAWorkerIsMadeOfARunner) {
  SpawnRequest asked = request(3);
  asked.spec.kind = ChildKind::kWorker;
  asked.spec.in_runner = true;
  const auto whole = decode_down(bytes_of(DownMessage(asked)));
  ASSERT_TRUE(whole.ok());
  EXPECT_TRUE(std::get<SpawnRequest>(*whole).spec.in_runner);
  asked.spec.kind = ChildKind::kSub;
  const auto refused = decode_down(bytes_of(DownMessage(asked)));
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().info().message, HasSubstr("in a runner"));
}

TEST(SpawnProtocolTest, KillAndShutdownArriveWhole) {
  const auto kill = decode_down(bytes_of(DownMessage(KillRequest{ChildIndex{9}})));
  ASSERT_TRUE(kill.ok());
  EXPECT_EQ(std::get<KillRequest>(kill.value()).index, ChildIndex{9});
  const auto end = decode_down(bytes_of(DownMessage(ShutdownRequest{1500})));
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(std::get<ShutdownRequest>(end.value()).kill_after_ms, 1500u);
}

TEST(SpawnProtocolTest, AnExitArrivesWhole) {
  ExitedReport report;
  report.index = ChildIndex{2};
  report.exit = {.pid = 5,
                 .wait_status = 9,
                 .user_us = 10,
                 .system_us = 11,
                 .max_rss_kib = 12,
                 .stderr_tail = "the end\n"};
  const auto decoded = decode_up(bytes_of(UpMessage(report)));
  ASSERT_TRUE(decoded.ok());
  const auto& got = std::get<ExitedReport>(decoded.value());
  EXPECT_EQ(got.index, ChildIndex{2});
  EXPECT_EQ(got.exit.pid, 5);
  EXPECT_EQ(got.exit.wait_status, 9);
  EXPECT_EQ(got.exit.user_us, 10u);
  EXPECT_EQ(got.exit.system_us, 11u);
  EXPECT_EQ(got.exit.max_rss_kib, 12u);
  EXPECT_EQ(got.exit.stderr_tail, "the end\n");
}

TEST(SpawnProtocolTest, AFailureArrivesWithItsError) {
  const Status why = Status::error(Code::kUnavailable, Reason::kSystem, "no more processes");
  const auto decoded = decode_up(bytes_of(UpMessage(FailedReport{ChildIndex{1}, why})));
  ASSERT_TRUE(decoded.ok());
  const auto& got = std::get<FailedReport>(decoded.value());
  EXPECT_EQ(got.why.reason(), Reason::kSystem);
  EXPECT_EQ(got.why.info().message, "no more processes");
}

TEST(SpawnProtocolTest, ArgumentsBeyondAMessageAreRefused) {
  SpawnRequest big = request(0);
  big.spec.arguments = {std::string(2 * kSpawnMessageBytesMax, 'x')};
  EXPECT_EQ(encode(DownMessage(big)).status().reason(), Reason::kTooLarge);
  big.spec.arguments.assign(kSpawnArgumentsMax + 1, "x");
  EXPECT_EQ(encode(DownMessage(big)).status().reason(), Reason::kTooLarge);
}

TEST(SpawnProtocolTest, EveryCutOfEveryMessageIsRefused) {
  const std::vector<std::vector<std::byte>> down = {bytes_of(DownMessage(request(1))),
                                                    bytes_of(DownMessage(KillRequest{})),
                                                    bytes_of(DownMessage(ShutdownRequest{}))};
  for (const auto& whole : down) {
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      EXPECT_EQ(decode_down(std::span(whole).first(cut)).status().reason(), Reason::kBadFrame);
    }
  }
  const std::vector<std::vector<std::byte>> up = {
      bytes_of(UpMessage(SpawnedReport{ChildIndex{1}, 5})), bytes_of(UpMessage(ExitedReport{})),
      bytes_of(UpMessage(OutputReport{ChildIndex{1}, OutputStream::kStderr, "text"}))};
  for (const auto& whole : up) {
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      EXPECT_EQ(decode_up(std::span(whole).first(cut)).status().reason(), Reason::kBadFrame);
    }
  }
}

TEST(SpawnProtocolTest, TrailingBytesAreRefused) {
  auto bytes = bytes_of(DownMessage(request(1)));
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode_down(bytes).status().reason(), Reason::kBadFrame);
}

TEST(SpawnProtocolTest, AMessageOfTheOtherDirectionIsRefused) {
  EXPECT_FALSE(decode_up(bytes_of(DownMessage(KillRequest{}))).ok());
  EXPECT_FALSE(decode_down(bytes_of(UpMessage(SpawnedReport{ChildIndex{1}, 5}))).ok());
}

TEST(SpawnLedgerTest, NoChildIsReapedBeforeItIsAnnounced) {
  SpawnLedger ledger;
  ASSERT_TRUE(ledger.admit(request(0)).ok());
  ledger.made(ChildIndex{0}, 50);
  EXPECT_EQ(ledger.ended(50), SpawnLedger::Ended::kWait);
  ledger.announced(ChildIndex{0});
  EXPECT_EQ(ledger.ended(50), SpawnLedger::Ended::kReap);
  EXPECT_EQ(ledger.reaped(50), ChildIndex{0});
  EXPECT_EQ(ledger.size(), 0u);
}

TEST(SpawnLedgerTest, WhatItDidNotMakeIsAnOrphan) {
  SpawnLedger ledger;
  EXPECT_EQ(ledger.ended(51), SpawnLedger::Ended::kOrphan);
  EXPECT_FALSE(ledger.is_child(51));
  EXPECT_EQ(ledger.reaped(51), std::nullopt);
}

TEST(SpawnLedgerTest, AnIndexInUseIsRefusedUntilItsChildIsReaped) {
  SpawnLedger ledger;
  ledger.made(ChildIndex{0}, 50);
  EXPECT_EQ(ledger.admit(request(0)).reason(), Reason::kWrongState);
  ledger.announced(ChildIndex{0});
  ledger.reaped(50);
  EXPECT_TRUE(ledger.admit(request(0)).ok());
}

TEST(SpawnLedgerTest, TheEndComesAtItsTimeAndWithoutChildren) {
  SpawnLedger ledger;
  ledger.made(ChildIndex{0}, 50);
  ledger.announced(ChildIndex{0});
  ledger.begin_end(100 * kMs, std::chrono::milliseconds(20));
  EXPECT_EQ(ledger.admit(request(1)).reason(), Reason::kWrongState);
  EXPECT_EQ(ledger.next_timer_ns(), 120 * kMs);
  EXPECT_FALSE(ledger.kill_due(119 * kMs));
  EXPECT_TRUE(ledger.kill_due(120 * kMs));
  ledger.killed();
  EXPECT_EQ(ledger.next_timer_ns(), 0u);
  EXPECT_FALSE(ledger.finished());
  ledger.reaped(50);
  EXPECT_TRUE(ledger.finished());
}

TEST(SpawnLedgerTest, TheSoonerOfTwoEndsCounts) {
  SpawnLedger ledger;
  ledger.begin_end(100 * kMs, std::chrono::milliseconds(50));
  ledger.begin_end(110 * kMs, std::chrono::milliseconds(0));
  EXPECT_EQ(ledger.next_timer_ns(), 110 * kMs);
  ledger.begin_end(111 * kMs, std::chrono::milliseconds(500));
  EXPECT_EQ(ledger.next_timer_ns(), 110 * kMs);
}

}  // namespace
}  // namespace echelon
