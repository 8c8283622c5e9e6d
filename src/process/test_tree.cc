// SPDX-License-Identifier: Apache-2.0
#include "process/test_tree.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <string>

#include "base/build_id.h"
#include "base/syscall.h"
#include "shm/task_body.h"

namespace echelon {
namespace {

constexpr MonotonicNs kRoundNs = 50'000'000;
constexpr MonotonicNs kWatchdogNs = 30'000'000'000;

template <class T>
T must(Result<T> result) {
  ECHELON_CHECK(result.ok(), result.status().to_string());
  return std::move(result).value();
}

}  // namespace

std::vector<std::byte> test_body(std::initializer_list<std::uint64_t> scalars) {
  std::vector<ScalarValue> values;
  for (const std::uint64_t scalar : scalars) values.push_back({DType::kUInt64, scalar});
  std::vector<std::byte> body(task_body_bytes({}, values, nullptr));
  encode_task_body({}, values, nullptr, body);
  return body;
}

std::vector<std::byte> test_body(const TensorDesc& tensor, Tag tag, std::uint64_t scalar) {
  const TaggedTensor tagged{tensor, tag};
  const ScalarValue value{DType::kUInt64, scalar};
  std::vector<std::byte> body(task_body_bytes({&tagged, 1}, {&value, 1}, nullptr));
  encode_task_body({&tagged, 1}, {&value, 1}, nullptr, body);
  return body;
}

TestTree::TestTree(Options options) : options_(std::move(options)) {
  MapOptions map;
  map.dont_fork = true;
  doorbell_segment_ = must(Segment::create("test-doorbell", sizeof(DoorbellData), map));
  doorbell_ = Doorbell(*reinterpret_cast<DoorbellData*>(doorbell_segment_.data()));
  pools_.set_own(options_.pool);
  SpawnerOptions spawner;
  spawner.name = "root";
  spawner.path = "root";
  spawner.sub_main = options_.sub_main;
  spawner.worker_main = options_.worker_main;
  spawner.runner = options_.runner;
  spawner.chip_executable = options_.chip_executable;
  spawner.doorbell_fd = doorbell_segment_.fd();
  spawner_ = must(Spawner::fork(std::move(spawner)));
  for (std::uint32_t i = 0; i < options_.children; ++i) add(ChildKind::kSub);
}

TestTree::~TestTree() {
  if (!closed_) static_cast<void>(close());
}

ChildIndex TestTree::add(ChildKind kind) {
  const ChildIndex index{static_cast<std::uint32_t>(children_.size())};
  LocalEndpointOptions options;
  options.index = index;
  options.kind = kind;
  options.path = fmt::format("root/child{}", index.value);
  options.host = "testhost";
  options.unresponsive_after = options_.unresponsive_after;
  options.watch_idle = options_.watch_idle;
  const Uid uid{env.random_nonzero()};
  ChannelParent channel = must(ChannelParent::create(uid, channel_build_id()));
  const Status made = init_liveness(*reinterpret_cast<LivenessData*>(channel.liveness().data()));
  ECHELON_CHECK(made.ok());
  FdPair sockets = must(create_socketpair());
  ChildSpec spec;
  spec.index = index;
  spec.kind = kind;
  spec.in_runner = kind == ChildKind::kWorker && !options_.runner.empty();
  spec.uid = uid;
  spec.path = options.path;
  spec.name = fmt::format("child{}", index.value);
  if (kind == ChildKind::kChip) spec.arguments = options_.chip_arguments;
  const Status asked = spawner_->spawn(
      spec, {channel.fd(), sockets.second.get(), doorbell_segment_.fd(), options_.payload});
  ECHELON_CHECK(asked.ok(), asked.to_string());
  auto edge = std::make_unique<TreeEdge>(std::move(sockets.first), Uid{1}, pools_);
  children_.push_back(std::make_unique<LocalEndpoint>(options, std::move(channel), std::move(edge),
                                                      *spawner_, env));
  return index;
}

std::size_t TestTree::look() {
  std::set<LocalEndpoint*> dead;
  for (auto& child : children_) {
    if (child->liveness().state() == LivenessState::kOwnerDied) dead.insert(child.get());
  }
  std::size_t events = spawner_->poll(*this);
  for (auto& child : children_) {
    if (dead.contains(child.get())) child->note_owner_died();
    child->tick(env.now_ns());
    events += child->poll(*this);
  }
  return events;
}

void TestTree::pump() {
  std::vector<FutexWaiter> words = {doorbell_.arm(DoorbellSleeper::kCaller),
                                    doorbell_.waiter(DoorbellSleeper::kKeeper)};
  const auto watch = [&](LivenessWatch& liveness) {
    const auto armed = liveness.arm();
    if (armed.state == LivenessState::kAlive) words.push_back({&liveness.word(), armed.expected});
  };
  watch(spawner_->liveness());
  for (auto& child : children_) {
    if (!child->down()) watch(child->liveness());
  }
  if (look() == 0) {
    const auto slept = futex_waitv(words, env.now_ns() + kRoundNs);
    ECHELON_CHECK(slept.ok(), slept.status().to_string());
  }
  doorbell_.disarm();
}

bool TestTree::pump_until(const std::function<bool()>& condition) {
  const MonotonicNs end = env.now_ns() + kWatchdogNs;
  while (!condition()) {
    if (env.now_ns() > end) return false;
    pump();
  }
  return true;
}

bool TestTree::start() {
  return pump_until([this] {
    return std::all_of(children_.begin(), children_.end(), [](const auto& child) {
      return child->start_progress().state == StartState::kReady;
    });
  });
}

Status TestTree::close(std::chrono::milliseconds kill_after) {
  closed_ = true;
  for (auto& child : children_) child->request_shutdown({});
  spawner_->begin_shutdown(kill_after);
  const Status reaped = spawner_->reap_until(env.now_ns() + 10'000'000'000, *this);
  look();
  return reaped;
}

TaskId TestTree::send(TestTask what, std::initializer_list<std::uint64_t> scalars,
                      std::uint32_t child, MonotonicNs deadline_ns) {
  return send_body(what, test_body(scalars), child, deadline_ns);
}

TaskId TestTree::send_body(TestTask what, std::span<const std::byte> body, std::uint32_t child,
                           MonotonicNs deadline_ns) {
  Dispatch dispatch;
  dispatch.task = TaskId{next_task_++};
  dispatch.slot = CallableSlot{static_cast<std::uint32_t>(what)};
  dispatch.deadline_ns = deadline_ns;
  dispatch.body = body;
  DispatchResult sent = DispatchResult::kNoRoom;
  pump_until([&] {
    sent = children_[child]->try_dispatch(dispatch);
    return sent != DispatchResult::kNoRoom;
  });
  return sent == DispatchResult::kSent ? dispatch.task : TaskId{};
}

bool TestTree::pump_until_done(TaskId task) {
  return pump_until([&] { return done.contains(task); });
}

std::string TestTree::run(TestTask what, std::initializer_list<std::uint64_t> scalars,
                          std::uint32_t child) {
  const TaskId task = send(what, scalars, child);
  ECHELON_CHECK(pump_until_done(task), task);
  ECHELON_CHECK(done[task].status.ok(), done[task].status.to_string());
  return done[task].result;
}

void TestTree::on_spawned(ChildIndex child, pid_t pid) {
  children_[child.value]->note_spawned(pid);
}

void TestTree::on_exited(ChildIndex child, const ExitReport& report) {
  exits[child] = report;
  children_[child.value]->note_exited(report);
}

void TestTree::on_output(ChildIndex child, OutputStream stream, std::string_view text) {
  (stream == OutputStream::kStdout ? out : err)[child] += text;
}

void TestTree::on_spawn_failed(ChildIndex child, const Status& why) {
  children_[child.value]->note_spawn_failed(why);
}

void TestTree::on_lost(const Status& why) {
  lost = why;
  for (auto& child : children_) child->note_spawner_lost(why);
}

void TestTree::on_completion(ChildIndex child, const Completion& completion) {
  if (options_.also != nullptr) options_.also->on_completion(child, completion);
  Done& one = done[completion.task];
  one.status = completion.status;
  one.result.assign(reinterpret_cast<const char*>(completion.result.data()),
                    completion.result.size());
  ++one.times;
  order.push_back(fmt::format("done {}", completion.task.value));
}

void TestTree::on_down(ChildIndex child, const Status& why) {
  if (options_.also != nullptr) options_.also->on_down(child, why);
  down[child] = why;
  order.push_back(fmt::format("down {}", child.value));
}

void TestTree::on_gone(ChildIndex child) {
  if (options_.also != nullptr) options_.also->on_gone(child);
  gone.insert(child);
  order.push_back(fmt::format("gone {}", child.value));
}

bool process_ended(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(stat, line)) return true;
  const auto bracket = line.rfind(") ");
  return bracket != std::string::npos && (line[bracket + 2] == 'Z' || line[bracket + 2] == 'X');
}

}  // namespace echelon
