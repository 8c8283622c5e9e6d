// SPDX-License-Identifier: Apache-2.0
#include "engine/null_endpoint.h"

#include <gtest/gtest.h>

#include <string>

namespace echelon {
namespace {

/// Writes down what an endpoint reports.
struct Log final : EndpointEvents {
  void on_completion(ChildIndex, const Completion& completion) override {
    text += completion.status.ok() ? "done " : "failed ";
    text += std::to_string(completion.task.value) + "; ";
    result.assign(completion.result.begin(), completion.result.end());
  }
  void on_down(ChildIndex, const Status& why) override {
    text += "down " + why.info().message + "; ";
  }
  void on_gone(ChildIndex) override { text += "gone; "; }
  std::string text;
  std::vector<std::byte> result;
};

Dispatch task(std::uint64_t id) {
  Dispatch dispatch;
  dispatch.task = TaskId{id};
  return dispatch;
}

Status death() {
  return Status::error(Code::kUnavailable, Reason::kChildDied, "x");
}

TEST(NullEndpoint, CompletesWhatItHoldsInOrder) {
  NullEndpoint endpoint({0}, {});
  for (std::uint64_t id = 1; id <= 3; ++id)
    EXPECT_EQ(endpoint.try_dispatch(task(id)), DispatchResult::kSent);
  Log log;
  EXPECT_EQ(endpoint.poll(log), 3u);
  EXPECT_EQ(log.text, "done 1; done 2; done 3; ");
  EXPECT_EQ(endpoint.poll(log), 0u);
}

TEST(NullEndpoint, RunsAFunctionWithTheBody) {
  NullEndpoint endpoint({0}, {}, [](const Dispatch& given, std::vector<std::byte>& result) {
    result.assign(given.body.rbegin(), given.body.rend());
    return Status();
  });
  const std::byte body[] = {std::byte{1}, std::byte{2}};
  Dispatch dispatch = task(1);
  dispatch.body = body;
  endpoint.try_dispatch(dispatch);
  Log log;
  endpoint.poll(log);
  EXPECT_EQ(log.result, (std::vector<std::byte>{std::byte{2}, std::byte{1}}));
}

TEST(NullEndpoint, HasRoomForSoMany) {
  NullEndpoint endpoint({0}, {.room = 2});
  endpoint.try_dispatch(task(1));
  endpoint.try_dispatch(task(2));
  EXPECT_EQ(endpoint.try_dispatch(task(3)), DispatchResult::kNoRoom);
  Log log;
  endpoint.poll(log);
  EXPECT_EQ(endpoint.try_dispatch(task(3)), DispatchResult::kSent);
}

TEST(NullEndpoint, CompletesSlowlyWhenTold) {
  NullEndpoint endpoint({0}, {.completions_per_poll = 1});
  endpoint.try_dispatch(task(1));
  endpoint.try_dispatch(task(2));
  Log log;
  EXPECT_EQ(endpoint.poll(log), 1u);
  EXPECT_EQ(endpoint.poll(log), 1u);
}

TEST(NullEndpoint, GivesBackWhatItHasNotBegun) {
  NullEndpoint endpoint({0}, {.manual = true});
  for (std::uint64_t id = 1; id <= 3; ++id) endpoint.try_dispatch(task(id));
  EXPECT_EQ(endpoint.take(), TaskId{1});
  EXPECT_EQ(endpoint.progress(TaskId{1}), Progress::kTaken);
  EXPECT_EQ(endpoint.progress(TaskId{2}), Progress::kQueued);
  EXPECT_FALSE(endpoint.try_recall(TaskId{1}));
  EXPECT_TRUE(endpoint.try_recall(TaskId{2}));
  EXPECT_FALSE(endpoint.try_recall(TaskId{2}));
  endpoint.finish(TaskId{3});
  endpoint.finish(TaskId{1}, death());
  Log log;
  endpoint.poll(log);
  EXPECT_EQ(log.text, "failed 1; done 3; ");
}

TEST(NullEndpoint, DiesInTwoSteps) {
  NullEndpoint endpoint({0}, {.manual = true, .reap_at_once = false});
  endpoint.try_dispatch(task(1));
  endpoint.try_dispatch(task(2));
  endpoint.finish(TaskId{1});
  endpoint.die(death());
  EXPECT_EQ(endpoint.try_dispatch(task(3)), DispatchResult::kDown);
  Log log;
  endpoint.poll(log);
  EXPECT_EQ(log.text, "done 1; down x; ");
  endpoint.poll(log);
  endpoint.reap();
  endpoint.poll(log);
  endpoint.poll(log);
  EXPECT_EQ(log.text, "done 1; down x; gone; ");
}

TEST(NullEndpoint, EndsWhenTold) {
  NullEndpoint endpoint({0}, {});
  endpoint.terminate(death());
  EXPECT_TRUE(endpoint.terminated());
  Log log;
  EXPECT_EQ(endpoint.poll(log), 2u);
  EXPECT_EQ(log.text, "down x; gone; ");
}

TEST(NullEndpoint, RemembersWhoWasAskedToStop) {
  NullEndpoint endpoint({0}, {.manual = true});
  endpoint.try_dispatch(task(1));
  endpoint.request_cancel(TaskId{1});
  EXPECT_EQ(endpoint.cancel_requests(), std::vector<TaskId>{TaskId{1}});
}

}  // namespace
}  // namespace echelon
