// SPDX-License-Identifier: Apache-2.0
//
// A parent of our own making and a real session: frames that no Worker would send are refused one
// by one, and the session goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "base/env.h"
#include "functions.h"
#include "remote/remote_endpoint.h"
#include "remote/remote_start.h"
#include "remote_host.h"
#include "shm/task_body.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint32_t kOrch = 1, kSub = 2, kWrite = 3, kAbsent = 4, kNothing = 99;
constexpr std::uint64_t kOwner = 7;

ECHELON_ORCH("forged write", [](Orchestrator&, TaskArgs& args) {
  for (float& value : args.tensor<float>(0)) value = 1.0f;
});

ManifestCallable named(RegisteredKind kind, const std::string& name) {
  ManifestCallable callable;
  callable.owner = kOwner;
  callable.kind = kind;
  callable.form = embedding::Form::kName;
  callable.name = name;
  callable.payload = Payload::small(std::as_bytes(std::span(name)));
  callable.digest = sha256(name);
  return callable;
}

SessionManifest manifest_of_functions() {
  SessionManifest manifest;
  manifest.path = "pod0/far";
  manifest.name = "far";
  manifest.callables = {named(RegisteredKind::kOrch, "remote where orch"),
                        named(RegisteredKind::kSub, "remote where"),
                        named(RegisteredKind::kOrch, "forged write"),
                        named(RegisteredKind::kOrch, "nobody has this one")};
  return manifest;
}

class Forged : public testing::Test, private EndpointEvents {
 protected:
  Forged() {
    RemoteEndpointOptions options;
    options.path = "pod0/far";
    options.silent_max = 30s;
    options.end_session = [this](const Status& why) { link_->end(why); };
    endpoint_ = std::make_unique<RemoteEndpoint>(std::move(options), env_);
    link_ = std::make_unique<SessionLink>(*endpoint_);
    SessionOrder order;
    order.daemon.address = host_.address();
    order.manifest = manifest_of_functions();
    link_->open(*load_transport("grpc").value(), std::move(order));
    EXPECT_TRUE(pump_until([&] {
      return endpoint_->start_progress().state == StartState::kReady || endpoint_->ending();
    }));
    EXPECT_FALSE(endpoint_->ending()) << endpoint_->down_status().to_string();
  }

  Status run(std::uint32_t slot, TaskKind kind = TaskKind::kOrch,
             std::span<const TaggedTensor> tensors = {}) {
    std::vector<std::byte> body(task_body_bytes(tensors, {}, nullptr));
    encode_task_body(tensors, {}, nullptr, body);
    Dispatch dispatch;
    dispatch.task = TaskId{++last_};
    dispatch.kind = kind;
    dispatch.slot = CallableSlot{slot};
    dispatch.body = body;
    EXPECT_EQ(endpoint_->try_dispatch(dispatch), DispatchResult::kSent);
    EXPECT_TRUE(pump_until([&] { return done_.contains(last_) || endpoint_->down(); }));
    return done_[last_];
  }
  /// Of "remote where", or of so many bytes that are said to have another digest by `spoil`.
  SubtreeAnswer register_callable(RegisteredKind kind, std::size_t bytes, std::byte spoil) {
    const std::string name = "remote where";
    const std::string payload = bytes != 0 ? std::string(bytes, 'p') : name;
    RegisterRequest request;
    request.slot = CallableSlot{kFirstLateSlot};
    request.serial = ++serial_;
    request.kind = kind;
    request.owner = kOwner;
    request.below = true;
    request.name = name;
    request.digest = sha256(payload);
    request.digest[0] ^= spoil;
    request.payload = Payload::make(std::as_bytes(std::span(payload))).value();
    request.deadline_ns = env_.now_ns() + 20'000'000'000;
    DispatchResult sent = DispatchResult::kNoRoom;
    pump_until([&] {
      sent = endpoint_->request_register(serial_, request, nullptr);
      return sent != DispatchResult::kNoRoom;
    });
    EXPECT_EQ(sent, DispatchResult::kSent);
    std::vector<RemoteEndpoint::RegistrationReply> replies;
    EXPECT_TRUE(pump_until([&] {
      replies = endpoint_->take_registration_replies();
      return !replies.empty() || endpoint_->down();
    }));
    return replies.empty() ? SubtreeAnswer() : replies[0].answer;
  }
  static std::string words_of(const SubtreeAnswer& answer) {
    return answer.children.empty() ? "" : answer.children[0].message;
  }
  /// The same session.
  void expect_serving() {
    const Status good = run(kOrch);
    EXPECT_TRUE(good.ok()) << good.to_string();
    EXPECT_FALSE(endpoint_->ending()) << endpoint_->down_status().to_string();
  }
  TaggedTensor tensor(Uid issuer, BufferId buffer) const {
    const std::int64_t shape[] = {4};
    return {make_contiguous(issuer, buffer, issuer, DType::kFloat32, shape, Access::kReadWrite),
            Tag::kOutput};
  }
  bool pump_until(const std::function<bool()>& condition) {
    const MonotonicNs end = env_.now_ns() + 30'000'000'000;
    while (!condition()) {
      if (env_.now_ns() > end) return false;
      endpoint_->tick(env_.now_ns());
      if (endpoint_->poll(*this) == 0) std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  RemoteHost host_;
  SystemEnv env_;
  std::unique_ptr<RemoteEndpoint> endpoint_;
  std::unique_ptr<SessionLink> link_;

 private:
  void on_completion(ChildIndex, const Completion& completion) override {
    done_[completion.task.value] = completion.status;
  }
  void on_down(ChildIndex, const Status&) override {}
  void on_gone(ChildIndex) override {}

  std::uint64_t last_ = 0;
  std::uint64_t serial_ = 0;
  std::map<std::uint64_t, Status> done_;
};

TEST_F(Forged, ASlotOfAnotherKindIsRefused) {
  const Status refused = run(kSub);
  EXPECT_THAT(refused.info().message, HasSubstr("slot 2 holds no orchestration callable here"));
  EXPECT_EQ(refused.info().path, "pod0/far");
  expect_serving();
}

TEST_F(Forged, ATaskForAnotherKindOfChildIsRefused) {
  for (const TaskKind kind : {TaskKind::kSub, TaskKind::kChip}) {
    for (const std::uint32_t slot : {kOrch, kSub}) EXPECT_FALSE(run(slot, kind).ok()) << slot;
  }
  expect_serving();
}

TEST_F(Forged, ASlotOfNothingIsRefused) {
  EXPECT_THAT(run(kNothing).info().message, HasSubstr("slot 99 holds no"));
  EXPECT_FALSE(run(0).ok());
  EXPECT_FALSE(run(~std::uint32_t{0}).ok());
  expect_serving();
}

TEST_F(Forged, ANameThatResolvesToNothingIsRefusedWithIt) {
  EXPECT_THAT(run(kAbsent).info().message, HasSubstr("nobody has this one"));
  expect_serving();
}

TEST_F(Forged, ARegistrationWhosePayloadHasAnotherDigestIsRefused) {
  for (const std::size_t bytes : {std::size_t{4}, std::size_t{1} << 20}) {
    const SubtreeAnswer answer = register_callable(RegisteredKind::kOrch, bytes, std::byte{1});
    EXPECT_FALSE(answer.ok);
    EXPECT_THAT(words_of(answer), HasSubstr("SHA-256"));
  }
  expect_serving();
}

TEST_F(Forged, ARegistrationOfAnotherKindThanItsNameIsRefused) {
  const SubtreeAnswer answer = register_callable(RegisteredKind::kOrch, 0, std::byte{0});
  EXPECT_FALSE(answer.ok) << "\"remote where\" is a sub";
  EXPECT_THAT(words_of(answer), HasSubstr("remote where"));
  expect_serving();
}

TEST_F(Forged, AStaleOrForeignHandleIsRefused) {
  const TaggedTensor stale[] = {tensor(endpoint_->pool(), BufferId::make(1, 12345))};
  EXPECT_EQ(run(kWrite, TaskKind::kOrch, stale).reason(), Reason::kStaleHandle);
  const TaggedTensor foreign[] = {tensor(Uid{4711}, BufferId::make(1, 1))};
  EXPECT_FALSE(run(kWrite, TaskKind::kOrch, foreign).ok());
  expect_serving();
}

}  // namespace
}  // namespace echelon::remote_test
