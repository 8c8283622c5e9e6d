// SPDX-License-Identifier: Apache-2.0
#include "remote/testing/session_rig.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <utility>

#include "remote/sim/sim_lanes.h"
#include "shm/task_body.h"

namespace echelon {
namespace {

constexpr MonotonicNs kWatchdogNs = 30'000'000'000;
constexpr const char* kToken = "token";
constexpr auto kNap = std::chrono::microseconds(50);

/// A lane whose process can be stopped.
class CutLane final : public Lane {
 public:
  CutLane(std::unique_ptr<Lane> lane, std::shared_ptr<std::atomic<bool>> cut)
      : lane_(std::move(lane)), cut_(std::move(cut)) {}
  LaneSend try_send(LaneSegments segments) override {
    return cut_->load() ? LaneSend::kDown : lane_->try_send(segments);
  }
  std::size_t poll(LaneEvents& events) override { return cut_->load() ? 0 : lane_->poll(events); }
  bool has_news() const override { return !cut_->load() && lane_->has_news(); }
  void close(const Status& why) override {
    if (!cut_->load()) lane_->close(why);
  }
  std::string_view implementation() const override { return lane_->implementation(); }

 private:
  std::unique_ptr<Lane> lane_;
  std::shared_ptr<std::atomic<bool>> cut_;
};

}  // namespace

// --- memory
// ---------------------------------------------------------------------------------------

Result<TensorDesc> TestMemory::allocate(std::span<const std::int64_t> shape, DType dtype,
                                        bool zeroed) {
  const std::lock_guard lock(mutex_);
  const BufferId id = BufferId::make(1, next_++);
  const TensorDesc desc = make_contiguous(issuer_, id, issuer_, dtype, shape, Access::kReadWrite);
  if (desc.payload_bytes() > kSessionMemoryMax) {
    return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                         fmt::format("{} bytes asked for, {} are the most", desc.payload_bytes(),
                                     kSessionMemoryMax));
  }
  buffers_[id.value].assign(desc.payload_bytes(), zeroed ? std::byte{0} : std::byte{0xEE});
  return desc;
}

Status TestMemory::free(BufferId buffer) {
  const std::lock_guard lock(mutex_);
  if (buffers_.erase(buffer.value) == 1) return {};
  return Status::error(Code::kFailedPrecondition, Reason::kStaleHandle, "freed already");
}

Result<std::byte*> TestMemory::open(const TensorDesc& tensor, Access want) {
  const std::lock_guard lock(mutex_);
  if (tensor.issuer != issuer_) {
    return Status::error(Code::kInvalidArgument, Reason::kForeignHandle, "of another pool");
  }
  if (!allows(tensor.access, want)) {
    return Status::error(Code::kPermissionDenied, Reason::kWrongAccess, "not allowed");
  }
  const auto found = buffers_.find(tensor.buffer.value);
  if (found == buffers_.end() || tensor.offset + tensor.span_bytes() > found->second.size()) {
    return Status::error(Code::kFailedPrecondition, Reason::kStaleHandle, "no such buffer");
  }
  return found->second.data() + tensor.offset;
}

std::size_t TestMemory::buffers() const {
  const std::lock_guard lock(mutex_);
  return buffers_.size();
}

// --- the session
// ----------------------------------------------------------------------------------

void TestSessionTasks::fail(ResultSink& sink, std::string message) {
  ErrorInfo info;
  info.code = Code::kInvalidArgument;
  info.reason = Reason::kBadArgument;
  info.cause = Cause::kRefused;
  info.message = std::move(message);
  info.path = path_ + "/sub3";
  info.callable = "step";
  info.traceback = "line 7";
  info.exception = "serialised";
  info.pid = 4711;
  sink.error(info);
}

void TestSessionTasks::run(const TaskFrame& task, ResultSink& sink) {
  const auto scalar = [&] { return task.body.scalars.at(0).bits; };
  switch (static_cast<TestTask>(task.slot.value)) {
    case TestTask::kEcho:
      return sink.result(task.body_bytes);
    case TestTask::kThrow:
      throw std::runtime_error("deliberate");
    case TestTask::kFail:
      return fail(sink, "refused on purpose");
    case TestTask::kBigResult:
      return sink.result(std::vector<std::byte>(scalar(), std::byte{'r'}));
    case TestTask::kBigError:
      return fail(sink, std::string(scalar(), 'e'));
    case TestTask::kHang:
      while (!released_.load()) std::this_thread::sleep_for(kNap);
      return;
    case TestTask::kUntilCancelled:
      waits_for_cancel_.store(true);
      while (!released_.load() && !task.cancelled()) std::this_thread::sleep_for(kNap);
      return;
    case TestTask::kReadTensor: {
      const TensorDesc& tensor = task.body.tensors.at(0).desc;
      const auto at = memory_.open(tensor, Access::kRead);
      if (!at.ok()) return sink.error(at.status().info());
      return sink.result(std::span<const std::byte>(*at, tensor.payload_bytes()));
    }
    default:
      return;
  }
}

// --- the rig
// --------------------------------------------------------------------------------------

SessionRig::SessionRig(Options options) : options_(std::move(options)) {
  RemoteEndpointOptions of = options_.endpoint;
  if (of.path.empty()) of.path = "root/host0";
  if (!of.open_local) {
    of.open_local = [this](const TensorDesc& desc, Access want) { return local_.open(desc, want); };
  }
  of.wake = [this] { news_.store(true); };
  of.wake_keeper = [this] { news_.store(true); };
  of.end_session = [this](const Status& status) { ended_session = status; };
  endpoint_ = std::make_unique<RemoteEndpoint>(std::move(of), env);
  connect();
}

void SessionRig::connect() {
  SessionServerOptions server = options_.server;
  if (server.path.empty()) server.path = endpoint_->path();
  server.on_lost = [this](const Status&) { lost.fetch_add(1); };
  tasks_ = std::make_unique<TestSessionTasks>(server.path, memory_);
  if (options_.serve) {
    server_ = std::make_unique<SessionServer>(std::move(server), memory_, options_.hooks, env);
  }
  if (lanes_of_all != "sim") listen();
  RemoteLanes lanes;
  for (const LaneRole role : {LaneRole::kTask, LaneRole::kData, LaneRole::kHealth}) {
    auto& mine = role == LaneRole::kTask   ? lanes.task
                 : role == LaneRole::kData ? lanes.data
                                           : lanes.health;
    mine = make_lane(role, server_ ? server_->lane_options(role) : LaneOptions{});
  }
  while (attached_.load() != 3) std::this_thread::yield();
  if (server_) {
    executor_ = std::thread([this] { static_cast<void>(server_->serve(*tasks_)); });
  }
  SessionReady ready;
  ready.pid = 4242;
  ready.host = "hostA";
  ready.pool = kSessionPool;
  endpoint_->attach(ready, std::move(lanes));
}

void SessionRig::listen() {
  LaneListen where;
  where.address = "127.0.0.1:0";
  where.token = kToken;
  where.options = [this](LaneRole role) {
    return server_ ? server_->lane_options(role) : LaneOptions{};
  };
  where.accept = [this](LaneRole role, std::unique_ptr<Lane> lane) {
    let_in(role, std::move(lane));
  };
  LaneTransport* const transport = load_lanes(lanes_of_all).value();
  listener_ = transport->listen_lanes(std::move(where)).value();
}

std::unique_ptr<Lane> SessionRig::make_lane(LaneRole role, LaneOptions session_options) {
  LaneOptions options = endpoint_->lane_options(role);
  if (listener_ == nullptr) {
    SimLanes pair = make_sim_lanes(std::move(options), std::move(session_options));
    let_in(role, std::move(pair.b));
    return std::move(pair.a);
  }
  LaneConnect where;
  where.address = listener_->address();
  where.token = kToken;
  where.role = role;
  LaneTransport* const transport = load_lanes(lanes_of_all).value();
  return transport->connect_lane(where, std::move(options)).value();
}

void SessionRig::let_in(LaneRole role, std::unique_ptr<Lane> lane) {
  auto peer = std::make_unique<CutLane>(std::move(lane), cut_);
  if (server_) {
    server_->attach(role, std::move(peer));
  } else {
    peers_.at(static_cast<std::size_t>(role)) = std::move(peer);
  }
  attached_.fetch_add(1);
}

SessionRig::~SessionRig() {
  tasks_->release();
  if (server_) server_->stop();
  if (executor_.joinable()) executor_.join();
  endpoint_.reset();
  server_.reset();
}

void SessionRig::kill(bool tell) {
  cut_->store(true);
  tasks_->release();
  if (server_) server_->stop();
  if (executor_.joinable()) executor_.join();
  server_.reset();
  for (auto& peer : peers_) peer.reset();
  if (!tell) return;
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  info.cause = Cause::kSignal;
  info.signal = 9;
  info.message = "its process was killed by signal 9";
  endpoint_->note_ended(Status(std::move(info)));
}

void SessionRig::pump() {
  endpoint_->tick(env.now_ns());
  if (endpoint_->poll(*this) == 0) std::this_thread::sleep_for(kNap);
}

bool SessionRig::pump_until(const std::function<bool()>& condition) {
  const MonotonicNs end = env.now_ns() + kWatchdogNs;
  while (!condition()) {
    if (env.now_ns() > end) return false;
    pump();
  }
  return true;
}

DispatchResult SessionRig::try_send(std::uint64_t id, TestTask what,
                                    std::span<const std::byte> body, MonotonicNs deadline_ns,
                                    TaskKind kind) {
  Dispatch dispatch;
  dispatch.task = TaskId{id};
  dispatch.kind = kind;
  dispatch.slot = CallableSlot{static_cast<std::uint32_t>(what)};
  dispatch.deadline_ns = deadline_ns;
  dispatch.body = body;
  return endpoint_->try_dispatch(dispatch);
}

void SessionRig::send(std::uint64_t id, TestTask what,
                      std::initializer_list<std::uint64_t> scalars) {
  ASSERT_EQ(try_send(id, what, test_body(scalars)), DispatchResult::kSent) << id;
}

void SessionRig::copy(std::uint64_t id, const TensorDesc& to, const TensorDesc& from,
                      MonotonicNs deadline_ns) {
  const std::array<TaggedTensor, 2> tensors = {TaggedTensor{to, Tag::kOutput},
                                               TaggedTensor{from, Tag::kInput}};
  std::vector<std::byte> body(task_body_bytes(tensors, {}, nullptr));
  encode_task_body(tensors, {}, nullptr, body);
  ASSERT_EQ(try_send(id, TestTask::kEmpty, body, deadline_ns, TaskKind::kCopy),
            DispatchResult::kSent);
}

bool SessionRig::wait_for(std::uint64_t id) {
  return pump_until([&] { return done.contains(id); });
}

Result<TensorDesc> SessionRig::allocate(std::initializer_list<std::int64_t> shape, DType dtype,
                                        bool zeroed) {
  constexpr std::uint64_t kToken = 5;
  const DispatchResult asked =
      endpoint_->request_allocate(kToken, std::span(shape.begin(), shape.size()), dtype, zeroed);
  EXPECT_EQ(asked, DispatchResult::kSent);
  std::vector<RemoteEndpoint::Allocation> taken;
  EXPECT_TRUE(pump_until([&] {
    taken = endpoint_->take_allocations();
    return !taken.empty();
  }));
  EXPECT_EQ(taken.at(0).token, kToken);
  return taken.at(0).tensor;
}

void SessionRig::on_completion(ChildIndex child, const Completion& completion) {
  if (options_.also != nullptr) options_.also->on_completion(child, completion);
  Done& end = done[completion.task.value];
  end.status = completion.status;
  end.result.assign(reinterpret_cast<const char*>(completion.result.data()),
                    completion.result.size());
  ++end.times;
  order.push_back(completion.task.value);
}

void SessionRig::on_down(ChildIndex child, const Status& status) {
  if (options_.also != nullptr) options_.also->on_down(child, status);
  ++down;
  why = status;
}

void SessionRig::on_gone(ChildIndex child) {
  if (options_.also != nullptr) options_.also->on_gone(child);
  ++gone;
}

}  // namespace echelon
