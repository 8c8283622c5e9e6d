// SPDX-License-Identifier: Apache-2.0
#include "process/registration.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr CallableSlot kSlot{kFirstLateSlot};
constexpr std::uint64_t kAsker = 500;

/// Writes down what the protocol does, and answers for children.
class Recorder final : public RegistrationOutputs {
 public:
  struct Sent {
    ChildIndex child;
    std::uint64_t token;
  };
  void send_register(ChildIndex child, std::uint64_t token,
                     const RegisterRequest& request) override {
    done.push_back(fmt::format("register {}{}{}", child.value, request.below ? " below" : "",
                               request.route.empty() ? "" : " further"));
    sent.push_back({child, token});
  }
  void send_unregister(ChildIndex child, std::uint64_t token, CallableSlot,
                       std::uint64_t serial) override {
    done.push_back(fmt::format("unregister {} serial {}", child.value, serial));
    sent.push_back({child, token});
  }
  void prepare(const RegisterRequest&) override { done.emplace_back("prepare"); }
  void close(CallableSlot, std::uint64_t) override { done.emplace_back("close"); }
  void remove(CallableSlot, std::uint64_t) override { done.emplace_back("remove"); }
  void answer_register(std::uint64_t asker, const SubtreeAnswer& answer) override {
    EXPECT_EQ(asker, kAsker);
    answers.push_back(answer);
    done.emplace_back(answer.ok ? "answer yes" : "answer no");
  }
  void answer_unregister(std::uint64_t asker, const SubtreeAnswer& answer) override {
    EXPECT_EQ(asker, kAsker + 1);
    EXPECT_TRUE(answer.ok);
    done.emplace_back("gone");
  }
  ChildAnswer about(ChildIndex child) override {
    return {AnswerOutcome::kReady, 0, fmt::format("root/child{}", child.value), "busy"};
  }
  std::vector<std::string> take() { return std::exchange(done, {}); }

  std::vector<std::string> done;
  std::vector<Sent> sent;
  std::vector<SubtreeAnswer> answers;
};

SubtreeAnswer yes() {
  SubtreeAnswer answer;
  answer.add({AnswerOutcome::kReady, 1, "child", ""});
  return answer;
}
SubtreeAnswer no() {
  SubtreeAnswer answer;
  answer.add({AnswerOutcome::kRefused, 1, "child", "no"});
  return answer;
}

/// A Worker with a sub-worker, a chip and two Workers below it.
class RegistrationProtocolTest : public testing::Test {
 protected:
  RegisterRequest request(RegisteredKind kind) const {
    RegisterRequest made;
    made.slot = kSlot;
    made.serial = 7;
    made.kind = kind;
    made.deadline_ns = 1000;
    made.payload = Payload::small({});
    return made;
  }
  void answer(std::size_t sent, SubtreeAnswer with) {
    EXPECT_TRUE(protocol.on_answer(out.sent[sent].child, out.sent[sent].token, std::move(with)));
  }
  /// A sub function, registered in all of the subtree.
  void register_sub() {
    protocol.on_register(kAsker, request(RegisteredKind::kSub));
    protocol.on_prepared(7, {});
    for (const std::size_t i : {0u, 1u, 2u}) answer(i, yes());
    EXPECT_EQ(out.take().back(), "answer yes");
    out.sent.clear();
  }

  Recorder out;
  RegistrationProtocol protocol{
      {ChildKind::kSub, ChildKind::kChip, ChildKind::kWorker, ChildKind::kWorker},
      {AnswerOutcome::kReady, 1, "root", ""},
      out};
};

TEST_F(RegistrationProtocolTest, EachKindGoesWhereItCanRunAndToEveryWorker) {
  struct Case {
    RegisteredKind kind;
    std::vector<std::string> sent;
  };
  const Case cases[] = {
      {RegisteredKind::kSub, {"register 0 below", "register 2 below", "register 3 below"}},
      {RegisteredKind::kOrch, {"register 2 below", "register 3 below"}},
      {RegisteredKind::kChip, {"register 1 below", "register 2 below", "register 3 below"}},
      {RegisteredKind::kLibrary, {"register 0 below", "register 2 below", "register 3 below"}},
  };
  std::uint64_t serial = 1;
  for (const Case& of : cases) {
    RegisterRequest made = request(of.kind);
    made.serial = serial++;
    protocol.on_register(kAsker, made);
    std::vector<std::string> wanted = of.sent;
    wanted.emplace_back("prepare");
    EXPECT_EQ(out.take(), wanted) << to_string(of.kind);
  }
}

TEST_F(RegistrationProtocolTest, TheAnswerComesWhenAllHaveAnswered) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  out.take();
  answer(0, yes());
  answer(2, yes());
  protocol.on_prepared(7, {});
  EXPECT_THAT(out.take(), IsEmpty());
  answer(1, yes());
  EXPECT_THAT(out.take(), ElementsAre("answer yes"));
  EXPECT_EQ(out.answers[0].children.size(), 4u);
}

TEST_F(RegistrationProtocolTest, ThoseThatRunItAreCountedByWhoeverIsAboveThem) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  protocol.on_prepared(7, {});
  SubtreeAnswer boasts = yes();
  boasts.runners = 9;
  answer(0, boasts);  // a sub-worker: one, whatever it says
  SubtreeAnswer host = yes();
  host.add(yes());
  host.add(yes());
  host.runners = 2;
  answer(1, host);
  answer(2, yes());  // a Worker below which nobody runs it
  EXPECT_EQ(out.answers.at(0).runners, 3u);
}

TEST_F(RegistrationProtocolTest, AWorkerRunsOrchestrationFunctionsOfThoseAboveItAlone) {
  RegisterRequest own = request(RegisteredKind::kOrch);
  protocol.on_register(kAsker, own);
  protocol.on_prepared(7, {});
  answer(0, yes());
  answer(1, yes());
  EXPECT_EQ(out.answers.at(0).runners, 0u);
  RegisterRequest from_above = own;
  from_above.serial = 8;
  from_above.below = true;
  protocol.on_register(kAsker, from_above);
  protocol.on_prepared(8, {});
  answer(2, yes());
  answer(3, yes());
  EXPECT_EQ(out.answers.at(1).runners, 1u);
}

TEST_F(RegistrationProtocolTest, OneRefusalIsTheAnswerAndListsAll) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  protocol.on_prepared(7, {});
  answer(0, yes());
  answer(1, no());
  out.take();
  answer(2, yes());
  EXPECT_THAT(out.take(), ElementsAre("answer no"));
  EXPECT_EQ(out.answers[0].children.size(), 4u);
}

TEST_F(RegistrationProtocolTest, ARouteIsFollowedAndNothingPreparedOnTheWay) {
  RegisterRequest made = request(RegisteredKind::kSub);
  made.route = {3, 0};
  protocol.on_register(kAsker, made);
  EXPECT_THAT(out.take(), ElementsAre("register 3 further"));
  answer(0, yes());
  EXPECT_THAT(out.take(), ElementsAre("answer yes"));
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  EXPECT_THAT(out.take(), ElementsAre("unregister 3 serial 7"));
  answer(1, yes());
  EXPECT_THAT(out.take(), ElementsAre("gone"));
}

TEST_F(RegistrationProtocolTest, ARouteToNowhereIsRefused) {
  for (const std::uint32_t hop : {0u, 1u, 4u, 4'000'000'000u}) {
    RegisterRequest made = request(RegisteredKind::kSub);
    made.route = {hop};
    protocol.on_register(kAsker, made);
    EXPECT_THAT(out.take(), ElementsAre("answer no")) << hop;
    EXPECT_EQ(protocol.known(), 0u);
  }
}

TEST_F(RegistrationProtocolTest, ASerialThatIsInUseIsRefused) {
  register_sub();
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  EXPECT_THAT(out.take(), ElementsAre("answer no"));
  EXPECT_EQ(protocol.known(), 1u);
}

TEST_F(RegistrationProtocolTest, ItIsForgottenOnceDrainedAndConfirmedByAll) {
  register_sub();
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  EXPECT_THAT(out.take(), ElementsAre("close"));
  protocol.on_drained(7);
  EXPECT_THAT(out.take(), ElementsAre("remove", "unregister 0 serial 7", "unregister 2 serial 7",
                                      "unregister 3 serial 7"));
  answer(0, yes());
  answer(1, yes());
  EXPECT_THAT(protocol.unconfirmed(7), ElementsAre(ChildIndex{3}));
  EXPECT_THAT(out.take(), IsEmpty());
  answer(2, yes());
  EXPECT_THAT(out.take(), ElementsAre("gone"));
  EXPECT_EQ(protocol.known(), 0u);
}

TEST_F(RegistrationProtocolTest, AnUnregisterOfWhatIsNotKnownIsConfirmed) {
  protocol.on_unregister(kAsker + 1, kSlot, 99);
  EXPECT_THAT(out.take(), ElementsAre("gone"));
}

TEST_F(RegistrationProtocolTest, WhoIsSilentIsNamedWhenTheTimeIsUp) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  protocol.on_prepared(7, {});
  answer(0, yes());
  answer(2, yes());
  out.take();
  EXPECT_EQ(protocol.next_deadline_ns(), 1000u);
  protocol.on_time(999);
  EXPECT_THAT(out.take(), IsEmpty());
  protocol.on_time(1000);
  EXPECT_THAT(out.take(), ElementsAre("answer no"));
  const ChildAnswer& silent = out.answers[0].children.back();
  EXPECT_EQ(silent.outcome, AnswerOutcome::kSilent);
  EXPECT_EQ(silent.path, "root/child2");
  EXPECT_EQ(silent.message, "busy");
  EXPECT_EQ(protocol.next_deadline_ns(), 0u);
}

TEST_F(RegistrationProtocolTest, WhoeverWasToldIsToldToForgetWhateverItAnswered) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  protocol.on_prepared(7, {});
  answer(0, no());
  answer(1, yes());
  protocol.on_time(1000);
  out.take();
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  protocol.on_drained(7);
  EXPECT_THAT(out.take(), ElementsAre("close", "remove", "unregister 0 serial 7",
                                      "unregister 2 serial 7", "unregister 3 serial 7"));
  answer(3, yes());
  answer(4, yes());
  // Late, and no news.
  answer(2, yes());
  EXPECT_THAT(out.take(), IsEmpty());
  EXPECT_EQ(protocol.known(), 1u);
  answer(5, yes());
  EXPECT_THAT(out.take(), ElementsAre("gone"));
}

TEST_F(RegistrationProtocolTest, WhatIsStillBeingPreparedIsForgottenAfterwards) {
  protocol.on_register(kAsker, request(RegisteredKind::kOrch));
  answer(0, yes());
  answer(1, yes());
  out.take();
  protocol.on_time(1000);
  EXPECT_THAT(out.take(), ElementsAre("answer no"));
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  protocol.on_drained(7);
  EXPECT_THAT(out.take(), ElementsAre("close"));
  protocol.on_prepared(7, {});
  EXPECT_THAT(out.take(), ElementsAre("remove", "unregister 2 serial 7", "unregister 3 serial 7"));
}

TEST_F(RegistrationProtocolTest, AChildThatDiesMeanwhileHasAnswered) {
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  protocol.on_prepared(7, {});
  answer(0, yes());
  answer(1, yes());
  out.take();
  protocol.on_child_down(ChildIndex{3}, "killed");
  EXPECT_THAT(out.take(), ElementsAre("answer no"));
  const ChildAnswer& died = out.answers[0].children.back();
  EXPECT_EQ(died.outcome, AnswerOutcome::kDied);
  EXPECT_EQ(died.message, "killed");
}

TEST_F(RegistrationProtocolTest, AChildThatDiesHasForgotten) {
  register_sub();
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  protocol.on_drained(7);
  answer(0, yes());
  answer(1, yes());
  out.take();
  protocol.on_child_down(ChildIndex{3}, "killed");
  EXPECT_THAT(out.take(), ElementsAre("gone"));
}

TEST_F(RegistrationProtocolTest, ADeadChildIsNotAsked) {
  protocol.on_child_down(ChildIndex{0}, "killed");
  protocol.on_register(kAsker, request(RegisteredKind::kSub));
  EXPECT_THAT(out.take(), ElementsAre("register 2 below", "register 3 below", "prepare"));
}

TEST_F(RegistrationProtocolTest, AnAnswerThatNobodyAskedForIsTold) {
  register_sub();
  EXPECT_FALSE(protocol.on_answer(ChildIndex{0}, 12345, yes()));
  protocol.on_unregister(kAsker + 1, kSlot, 7);
  protocol.on_drained(7);
  // Another child's.
  EXPECT_FALSE(protocol.on_answer(ChildIndex{1}, out.sent[0].token, yes()));
  answer(0, yes());
  // Twice.
  EXPECT_FALSE(protocol.on_answer(out.sent[0].child, out.sent[0].token, yes()));
}

}  // namespace
}  // namespace echelon
