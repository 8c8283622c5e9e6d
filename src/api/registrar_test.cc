// SPDX-License-Identifier: Apache-2.0
//
// The Registrar over real children; what a Worker does with their answers.
#include "api/registrar.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/mapping.h"
#include "process/test_tree.h"

namespace echelon::detail {
namespace {

using testing::HasSubstr;

/// Every thread of it has stopped.
bool stands_still(pid_t pid) {
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    std::ifstream file(task.path() / "stat");
    const std::string stat(std::istreambuf_iterator<char>(file), {});
    if (stat.find(") T ") == std::string::npos) return false;
  }
  return true;
}

class RegistrarTest : public testing::Test {
 protected:
  RegistrarTest() : tree(two_children()) {
    EXPECT_TRUE(tree.start());
    Registrar::Options options;
    options.path = "root";
    options.children = {&tree.child(0), &tree.child(1)};
    options.doorbell = &bell;
    table.when_drained([this](CallableSlot, std::uint64_t of) { registrar.note_drained(of); });
    registrar.open(std::move(options));
  }
  ~RegistrarTest() override { registrar.close(); }

  static TestTree::Options two_children() {
    TestTree::Options options;
    options.children = 2;
    return options;
  }
  RegisterRequest request(const std::string& name) {
    RegisterRequest made;
    made.slot = CallableSlot{kFirstLateSlot};
    made.serial = ++serial;
    made.form = embedding::Form::kImportPath;
    made.owner = 1;
    made.name = name;
    made.payload = Payload::small(std::as_bytes(std::span(name)));
    made.digest = sha256(made.payload->bytes());
    made.deadline_ns = tree.env.now_ns() + 20'000'000'000;
    return made;
  }
  /// Registers on a thread of its own, while this one is the keeper.
  SubtreeAnswer send(const RegisterRequest& made) {
    SubtreeAnswer answer;
    std::atomic<bool> done{false};
    std::jthread caller([&] {
      answer = registrar.register_here(made);
      done.store(true);
    });
    EXPECT_TRUE(tree.pump_until([&] {
      registrar.attend(tree.env.now_ns());
      return done.load();
    }));
    return answer;
  }

  TestTree tree;
  DoorbellData bell_data{};
  Doorbell bell{bell_data};
  LateTable table;
  Registrar registrar{table, tree.env};
  std::uint64_t serial = 0;
};

TEST_F(RegistrarTest, WhatAllHaveTakenIsKnownHere) {
  const RegisterRequest made = request("any");
  EXPECT_TRUE(send(made).ok);
  const Callable* callable = table.use(CallableRef{1, made.slot.value, made.serial});
  ASSERT_NE(callable, nullptr);
  EXPECT_EQ(callable->name, "any");
}

TEST_F(RegistrarTest, WhatOneRefusesIsToldByAllAndTakenBackFromAll) {
  const RegisterRequest made = request("refuse");
  const SubtreeAnswer answer = send(made);
  EXPECT_FALSE(answer.ok);
  EXPECT_EQ(answer.children.size(), 3u);
  bool gone = false;
  registrar.unregister_here(made.slot, made.serial, [&] { gone = true; });
  EXPECT_TRUE(tree.pump_until([&] {
    registrar.attend(tree.env.now_ns());
    return gone;
  }));
  EXPECT_TRUE(send(request("any")).ok);
}

TEST_F(RegistrarTest, WhatIsInUseIsForgottenWhenItsLastUseEnds) {
  const RegisterRequest made = request("any");
  EXPECT_TRUE(send(made).ok);
  ASSERT_NE(table.use(made.slot, TaskKind::kSub), nullptr);
  bool gone = false;
  registrar.unregister_here(made.slot, made.serial, [&] { gone = true; });
  for (int round = 0; round < 3; ++round) {
    tree.pump();
    registrar.attend(tree.env.now_ns());
  }
  EXPECT_FALSE(gone);
  table.release(made.slot);
  EXPECT_TRUE(tree.pump_until([&] {
    registrar.attend(tree.env.now_ns());
    return gone;
  }));
}

TEST_F(RegistrarTest, AnswersWakeTheKeeperOnceTheCallerSleeps) {
  const RegisterRequest first = request("any");
  ASSERT_TRUE(send(first).ok);
  const pid_t slow = tree.child(1).pid();
  ASSERT_EQ(::kill(slow, SIGSTOP), 0);
  ASSERT_TRUE(tree.pump_until([&] { return stands_still(slow); }));
  registrar.unregister_here(first.slot, first.serial, [] {});
  EXPECT_TRUE(tree.pump_until([&] {
    registrar.attend(tree.env.now_ns());
    return bell_data.looking.load() == 1;
  })) << "one has confirmed: the keeper looks for the other";
  std::atomic<bool> done{false};
  std::jthread caller([&] {
    EXPECT_TRUE(registrar.register_here(request("more")).ok);
    done.store(true);
  });
  EXPECT_TRUE(tree.pump_until([&] { return bell_data.looking.load() == 0; }));
  ASSERT_EQ(::kill(slow, SIGCONT), 0);
  EXPECT_TRUE(tree.pump_until([&] {
    registrar.attend(tree.env.now_ns());
    return done.load();
  }));
}

TEST_F(RegistrarTest, WhatComesOnceTheUplinkHasGoneIsPassedOver) {
  RegisterFrame frame;
  frame.request = request("late");
  frame.request.payload = nullptr;
  frame.payload_bytes = 4;
  frame.push = 7;
  registrar.connect(nullptr);
  registrar.on_register(1, frame);
  EXPECT_EQ(table.use(CallableRef{1, frame.request.slot.value, frame.request.serial}), nullptr);
}

TEST_F(RegistrarTest, AnAnswerThatWasNotAskedForEndsItsChildAndNobodyElse) {
  // Such a frame, well formed, where the child would put it.
  auto raw = Mapping::map(tree.child(0).channel().fd(), sizeof(ChannelData), MapOptions{});
  ASSERT_TRUE(raw.ok());
  auto& data = *reinterpret_cast<ChannelData*>(raw->data());
  RingProducer forged(
      RingMemory{&data.control_up_position, std::span<std::byte>(data.control_up_ring)});
  SubtreeAnswer yes;
  yes.add({AnswerOutcome::kReady, 1, "x", ""});
  FrameHeader header;
  header.kind = FrameKind::kRegisterReply;
  header.task = 4711;
  ASSERT_EQ(forged.try_push(header, encode_answer(yes, 1000)), PushResult::kPushed);
  EXPECT_TRUE(tree.pump_until([&] {
    registrar.attend(tree.env.now_ns());
    return tree.gone.contains(ChildIndex{0});
  }));
  EXPECT_EQ(tree.down[ChildIndex{0}].reason(), Reason::kBadFrame);
  EXPECT_THAT(tree.down[ChildIndex{0}].info().message, HasSubstr("was not asked for"));
  EXPECT_TRUE(send(request("any")).ok);
  EXPECT_FALSE(tree.child(1).down());
}

TEST_F(RegistrarTest, ClosingAnswersWhoeverWaits) {
  SubtreeAnswer answer;
  std::jthread caller([&] { answer = registrar.register_here(request("block")); });
  EXPECT_TRUE(tree.pump_until([&] { return tree.child(0).phase() != ""; }));
  registrar.close();
  caller.join();
  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.children[0].message, HasSubstr("root was closed"));
}

}  // namespace
}  // namespace echelon::detail
