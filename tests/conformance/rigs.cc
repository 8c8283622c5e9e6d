// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <conformance/endpoint_conformance.h>
#include "engine/null_endpoint.h"
#include "process/test_tree.h"
#include "shm/task_body.h"

namespace echelon {
namespace {

constexpr ChildIndex kFirst{0};
constexpr std::uint32_t kNullRoom = 16;

// Plays the child by hand: one task at a time, in order.
class NullRig final : public EndpointRig {
 public:
  explicit NullRig(EndpointEvents& events)
      : events_(events), endpoint_(kFirst, options()), recorder_(*this) {}

  Endpoint& endpoint() override { return front_; }
  std::uint32_t window() const override { return kNullRoom; }
  void kill() override {
    ErrorInfo info;
    info.code = Code::kUnavailable;
    info.reason = Reason::kChildDied;
    info.message = "killed";
    info.path = "root/child0";
    info.pid = 1;
    endpoint_.die(Status(std::move(info)));
  }
  void pump() override {
    if (!front_.down) work();
    endpoint_.poll(recorder_);
  }

 private:
  static NullEndpoint::Options options() {
    NullEndpoint::Options options;
    options.room = kNullRoom;
    options.manual = true;
    return options;
  }

  // Slots are not kept by the endpoint: they are read off on the way in.
  struct Front final : Endpoint {
    explicit Front(NullRig& of) : rig(of) {}
    DispatchResult try_dispatch(const Dispatch& task) override {
      const DispatchResult sent = rig.endpoint_.try_dispatch(task);
      if (sent == DispatchResult::kSent) slots.emplace_back(task.task, task.slot.value);
      return sent;
    }
    bool try_recall(TaskId task) override { return rig.endpoint_.try_recall(task); }
    Progress progress(TaskId task) const override { return rig.endpoint_.progress(task); }
    void request_cancel(TaskId task) override { rig.endpoint_.request_cancel(task); }
    std::size_t poll(EndpointEvents& events) override { return rig.endpoint_.poll(events); }
    void terminate(const Status& why) override { rig.endpoint_.terminate(why); }

    TestTask task_of(TaskId task) const {
      const auto it = std::find_if(slots.rbegin(), slots.rend(),
                                   [task](const auto& one) { return one.first == task; });
      return static_cast<TestTask>(it->second);
    }
    NullRig& rig;
    std::vector<std::pair<TaskId, std::uint32_t>> slots;
    bool down = false;
  };

  struct Recorder final : EndpointEvents {
    explicit Recorder(NullRig& of) : rig(of) {}
    void on_completion(ChildIndex child, const Completion& completion) override {
      rig.events_.on_completion(child, completion);
    }
    void on_down(ChildIndex child, const Status& why) override {
      rig.front_.down = true;
      rig.events_.on_down(child, why);
    }
    void on_gone(ChildIndex child) override { rig.events_.on_gone(child); }
    NullRig& rig;
  };

  void work() {
    if (!running_.has_value()) running_ = endpoint_.take();
    if (!running_.has_value()) return;
    const TaskId task = *running_;
    const auto& cancels = endpoint_.cancel_requests();
    const auto body = endpoint_.body(task);
    switch (front_.task_of(task)) {
      case TestTask::kHang:
        return;
      case TestTask::kUntilCancelled:
        if (std::find(cancels.begin(), cancels.end(), task) == cancels.end()) return;
        endpoint_.finish(task);
        break;
      case TestTask::kEcho: {
        const std::vector<std::byte> copy(body.begin(), body.end());
        endpoint_.finish(task, Status(), copy);
        break;
      }
      case TestTask::kBigResult:
        endpoint_.finish(task, Status(), std::vector<std::byte>(scalar_of(body), std::byte{'r'}));
        break;
      case TestTask::kFail:
        endpoint_.finish(task, failed("refused on purpose"));
        break;
      case TestTask::kBigError:
        endpoint_.finish(task, failed(std::string(scalar_of(body), 'e')));
        break;
      default:
        endpoint_.finish(task);
        break;
    }
    running_.reset();
  }

  static std::uint64_t scalar_of(std::span<const std::byte> bytes) {
    TaskBody body;
    ECHELON_CHECK(decode_task_body(bytes, body).ok());
    return body.scalars.at(0).bits;
  }
  static Status failed(std::string message) {
    ErrorInfo info;
    info.code = Code::kInvalidArgument;
    info.reason = Reason::kBadArgument;
    info.cause = Cause::kRefused;
    info.message = std::move(message);
    return Status(std::move(info));
  }

  EndpointEvents& events_;
  NullEndpoint endpoint_;
  Front front_{*this};
  Recorder recorder_;
  std::optional<TaskId> running_;
};

class ProcessRig final : public EndpointRig {
 public:
  explicit ProcessRig(EndpointEvents& events) : tree_(options(events)) {
    ECHELON_CHECK(tree_.start());
  }
  Endpoint& endpoint() override { return tree_.child(); }
  std::uint32_t window() const override { return LocalEndpointOptions{}.window; }
  void pump() override { tree_.pump(); }
  void kill() override { ::kill(tree_.child().pid(), SIGKILL); }

 private:
  static TestTree::Options options(EndpointEvents& events) {
    TestTree::Options options;
    options.also = &events;
    return options;
  }
  TestTree tree_;
};

}  // namespace

RigKind null_rig() {
  return {"Null", [](EndpointEvents& events) { return std::make_unique<NullRig>(events); }};
}

RigKind process_rig() {
  return {"Process", [](EndpointEvents& events) { return std::make_unique<ProcessRig>(events); }};
}

std::vector<RigKind> all_rigs() {
#ifdef ECHELON_WITH_REMOTE
  return {null_rig(), process_rig(), remote_rig()};
#else
  return {null_rig(), process_rig()};
#endif
}

}  // namespace echelon
