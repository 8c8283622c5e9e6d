// SPDX-License-Identifier: Apache-2.0
#include "process/registration_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

namespace echelon {
namespace {

using embedding::Form;
using testing::ElementsAre;
using testing::HasSubstr;

RegisterRequest request() {
  RegisterRequest made;
  made.slot = CallableSlot{kFirstLateSlot + 5};
  made.serial = 77;
  made.kind = RegisteredKind::kOrch;
  made.form = Form::kPickle;
  made.owner = 0x1122334455667788;
  made.route = {3, 1};
  made.name = "step";
  made.deadline_ns = 99;
  const std::string text = "pickled";
  made.payload = Payload::small(std::as_bytes(std::span(text)));
  made.digest = sha256(made.payload->bytes());
  return made;
}

FrameHeader header_of(const RegisterRequest& of) {
  FrameHeader header;
  header.kind = FrameKind::kRegister;
  header.slot = of.slot.value;
  header.deadline = of.deadline_ns;
  return header;
}

TEST(RegistrationCodecTest, ARequestArrivesAsItWasSent) {
  const RegisterRequest sent = request();
  const auto body = encode_register(sent, 0);
  const auto frame = decode_register(header_of(sent), body);
  ASSERT_TRUE(frame.ok()) << frame.status().to_string();
  const RegisterRequest& got = frame->request;
  EXPECT_EQ(got.slot, sent.slot);
  EXPECT_EQ(got.serial, sent.serial);
  EXPECT_EQ(got.kind, sent.kind);
  EXPECT_EQ(got.form, sent.form);
  EXPECT_EQ(got.owner, sent.owner);
  EXPECT_EQ(got.name, sent.name);
  EXPECT_EQ(got.digest, sent.digest);
  EXPECT_EQ(got.deadline_ns, sent.deadline_ns);
  EXPECT_FALSE(got.below);
  EXPECT_THAT(got.route, ElementsAre(3, 1));
  EXPECT_EQ(frame->push, 0u);
  ASSERT_EQ(frame->inline_bytes.size(), 7u);
  EXPECT_EQ(std::memcmp(frame->inline_bytes.data(), "pickled", 7), 0);
}

TEST(RegistrationCodecTest, APushedPayloadIsNamedAndNotInTheFrame) {
  const RegisterRequest sent = request();
  const auto frame = decode_register(header_of(sent), encode_register(sent, 77));
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(frame->push, 77u);
  EXPECT_EQ(frame->payload_bytes, 7u);
  EXPECT_TRUE(frame->inline_bytes.empty());
}

TEST(RegistrationCodecTest, EveryCutOfARequestIsRefused) {
  const RegisterRequest sent = request();
  const auto body = encode_register(sent, 0);
  for (std::size_t bytes = 0; bytes < body.size(); ++bytes) {
    const auto frame = decode_register(header_of(sent), std::span(body).first(bytes));
    EXPECT_EQ(frame.status().reason(), Reason::kBadFrame) << bytes;
  }
  std::vector<std::byte> longer = body;
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_register(header_of(sent), longer).status().reason(), Reason::kBadFrame);
}

/// One field of the body put to another value.
struct Wrong {
  const char* what;
  std::size_t offset;
  std::uint8_t value;
  const char* said;
};
// The offsets of registration_codec.h.
constexpr Wrong kWrongs[] = {
    {"version", 0, 2, "another version"},
    {"kind", 2, 9, "no such kind"},
    {"a chip that is pickled", 2, 2, "no such kind in such a form"},
    {"form inherited", 3, 0, "no such kind in such a form"},
    {"form", 3, 200, "no such kind in such a form"},
    {"flags", 4, 2, "unknown flags"},
    {"a route below its Worker", 4, 1, "its route is impossible"},
    {"hops", 5, 4, "its route is impossible"},
    {"name bytes", 7, 255, "its name is too long"},
    {"payload bytes", 24, 200, "not of the size that it says"},
    {"a payload beyond the most", 31, 1, "not of the size that it says"},
};

TEST(RegistrationCodecTest, WrongFieldsAreRefusedByName) {
  const RegisterRequest sent = request();
  for (const Wrong& wrong : kWrongs) {
    auto body = encode_register(sent, 0);
    body[wrong.offset] = std::byte{wrong.value};
    const auto frame = decode_register(header_of(sent), body);
    EXPECT_EQ(frame.status().reason(), Reason::kBadFrame) << wrong.what;
    EXPECT_THAT(frame.status().info().message, HasSubstr(wrong.said)) << wrong.what;
  }
}

TEST(RegistrationCodecTest, ASlotOfAnInheritedCallableIsRefused) {
  const RegisterRequest sent = request();
  FrameHeader header = header_of(sent);
  header.slot = 5;
  EXPECT_THAT(decode_register(header, encode_register(sent, 0)).status().info().message,
              HasSubstr("not one of a running tree's"));
  EXPECT_EQ(decode_unregister(header, encode_unregister(3)).status().reason(), Reason::kBadFrame);
}

TEST(RegistrationCodecTest, AnUnregisterArrivesAsItWasSent) {
  FrameHeader header;
  header.slot = kFirstLateSlot;
  EXPECT_EQ(decode_unregister(header, encode_unregister(1234)).value(), 1234u);
  EXPECT_EQ(decode_unregister(header, encode_unregister(0)).status().reason(), Reason::kBadFrame);
  const auto body = encode_unregister(1);
  EXPECT_EQ(decode_unregister(header, std::span(body).first(15)).status().reason(),
            Reason::kBadFrame);
}

TEST(RegistrationCodecTest, AnAnswerArrivesWithWhatFailedFirst) {
  SubtreeAnswer sent;
  sent.add({AnswerOutcome::kReady, 10, "a", ""});
  sent.add({AnswerOutcome::kRefused, 11, "b", "no"});
  sent.add({AnswerOutcome::kDied, 12, "c", "gone"});
  sent.runners = 2;
  const auto got = decode_answer(encode_answer(sent, 1000));
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_FALSE(got->ok);
  EXPECT_EQ(got->left_out, 0u);
  EXPECT_EQ(got->runners, 2u);
  ASSERT_EQ(got->children.size(), 3u);
  EXPECT_EQ(got->children[0].path, "b");
  EXPECT_EQ(got->children[0].message, "no");
  EXPECT_EQ(got->children[0].pid, 11);
  EXPECT_EQ(got->children[1].outcome, AnswerOutcome::kDied);
  EXPECT_EQ(got->children[2].path, "a");
}

TEST(RegistrationCodecTest, ATracebackArrivesAsTheLastOfItsLinesThatFit) {
  SubtreeAnswer sent;
  const std::string first(kAnswerTracebackBytesMax, 'x');
  sent.add({AnswerOutcome::kRefused, 11, "b", "no", first + "\nlast line\n"});
  const auto whole = decode_answer(encode_answer(sent, 6000));
  ASSERT_TRUE(whole.ok()) << whole.status().to_string();
  EXPECT_EQ(whole->children[0].traceback, "last line\n");
  const auto narrow = decode_answer(encode_answer(sent, 35));
  ASSERT_TRUE(narrow.ok()) << narrow.status().to_string();
  EXPECT_EQ(narrow->children[0].message, "no");
  EXPECT_EQ(narrow->children[0].traceback, "");
}

TEST(RegistrationCodecTest, WhatDoesNotFitIsCounted) {
  SubtreeAnswer sent;
  for (int i = 0; i < 100; ++i) {
    sent.add({AnswerOutcome::kReady, i, "path" + std::to_string(i), ""});
  }
  sent.add({AnswerOutcome::kRefused, 1, "the one", std::string(100'000, 'x')});
  const auto body = encode_answer(sent, 6000);
  EXPECT_LE(body.size(), 6000u);
  const auto got = decode_answer(body);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->children[0].path, "the one");
  EXPECT_EQ(got->children[0].message.size(), kAnswerMessageBytesMax);
  EXPECT_EQ(got->children.size() + got->left_out, 101u);
  EXPECT_GT(got->left_out, 0u);
}

TEST(RegistrationCodecTest, AnswersThatContradictThemselvesOrAreCutAreRefused) {
  SubtreeAnswer sent;
  sent.add({AnswerOutcome::kRefused, 11, "b", "no"});
  const auto body = encode_answer(sent, 1000);
  for (std::size_t bytes = 0; bytes < body.size(); ++bytes) {
    EXPECT_EQ(decode_answer(std::span(body).first(bytes)).status().reason(), Reason::kBadFrame);
  }
  auto contradicts = body;
  contradicts[2] = std::byte{1};
  EXPECT_THAT(decode_answer(contradicts).status().info().message, HasSubstr("contradicts itself"));
  auto neither = body;
  neither[2] = std::byte{7};
  EXPECT_FALSE(decode_answer(neither).ok());
  auto unknown = body;
  unknown[16] = std::byte{9};
  EXPECT_THAT(decode_answer(unknown).status().info().message, HasSubstr("no known outcome"));
  auto counted = body;
  counted[12] = std::byte{255};
  EXPECT_FALSE(decode_answer(counted).ok());
  auto more_run_it = body;
  more_run_it[8] = std::byte{2};
  EXPECT_THAT(decode_answer(more_run_it).status().info().message,
              HasSubstr("more processes than answered"));
}

}  // namespace
}  // namespace echelon
