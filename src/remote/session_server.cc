// SPDX-License-Identifier: Apache-2.0
#include "remote/session_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"
#include "remote/data_server.h"
#include "remote/health_server.h"
#include "remote/lane_sleeper.h"
#include "remote/task_lane.h"
#include "shm/waiter.h"

namespace echelon {
namespace {

constexpr int kLanes = 3;

/// Signals are the executor's.
template <class Run>
std::thread start_thread(const char* name, Run run) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([name, run] {
    ::pthread_setname_np(::pthread_self(), name);
    run();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

Status not_attached() {
  return Status::error(Code::kFailedPrecondition, Reason::kWrongState,
                       "the session's data lane is not connected");
}

}  // namespace

struct SessionServer::State {
  State(SessionServerOptions given, SessionMemory& of, ControlHooks with, Env& clock)
      : options(std::move(given)),
        memory(of),
        hooks(std::move(with)),
        env(clock),
        tasks(options.path, clock) {}

  void attach_locked(LaneRole role, std::unique_ptr<Lane> lane);
  Status await_lanes();
  void wake_waiter();
  bool is_closing();
  void run_data();
  void run_health();
  void lost(const Status& why);
  // pairs with the seq_cst store in ~SessionServer
  bool joining() const { return stopped.load(std::memory_order_seq_cst); }

  const SessionServerOptions options;
  SessionMemory& memory;
  ControlHooks hooks;
  Env& env;
  TaskLane tasks;

  const std::shared_ptr<LaneSleeper> data_sleeper = std::make_shared<LaneSleeper>();
  std::unique_ptr<Lane> data_lane;
  PeerLinks peers{memory, [sleeper = data_sleeper] { sleeper->poke(); }};
  std::unique_ptr<DataServer> data;
  std::thread data_thread;

  const std::shared_ptr<LaneSleeper> health_sleeper = std::make_shared<LaneSleeper>();
  std::unique_ptr<Lane> health_lane;
  std::unique_ptr<HealthServer> health;
  std::thread health_thread;

  mutable std::mutex mutex;  // guards making the above, and what follows
  std::condition_variable lanes_signal;
  int lanes = 0;
  bool told = false;
  std::atomic<bool> stopped{false};
};

SessionServer::SessionServer(SessionServerOptions options, SessionMemory& memory,
                             ControlHooks hooks, Env& env) {
  state_ = std::make_unique<State>(std::move(options), memory, ControlHooks{}, env);
  auto also = std::move(hooks.cancel);
  hooks.cancel = [tasks = &state_->tasks, also = std::move(also)](TaskId task) {
    tasks->request_cancel(task);
    if (also) also(task);
  };
  state_->hooks = std::move(hooks);
}

SessionServer::~SessionServer() {
  // pairs with the seq_cst load in joining(): the sleepers' re-read sees it, or they are woken
  state_->stopped.store(true, std::memory_order_seq_cst);
  state_->data_sleeper->poke();
  state_->health_sleeper->poke();
  if (state_->data_thread.joinable()) state_->data_thread.join();
  if (state_->health_thread.joinable()) state_->health_thread.join();
}

LaneOptions SessionServer::lane_options(LaneRole role) {
  switch (role) {
    case LaneRole::kTask:
      return state_->tasks.lane_options();
    case LaneRole::kData:
      return poking(state_->data_sleeper);
    case LaneRole::kHealth:
      return poking(state_->health_sleeper);
    case LaneRole::kPeer:
      return state_->peers.lane_options();
  }
  return {};
}

void SessionServer::attach(LaneRole role, std::unique_ptr<Lane> lane) {
  State& state = *state_;
  bool all = false;
  {
    const std::lock_guard lock(state.mutex);
    state.attach_locked(role, std::move(lane));
    all = ++state.lanes == kLanes;
    state.lanes_signal.notify_all();
  }
  if (all && state.options.on_lanes) state.options.on_lanes();
}

void SessionServer::State::attach_locked(LaneRole role, std::unique_ptr<Lane> lane) {
  switch (role) {
    case LaneRole::kTask:
      return tasks.attach(std::move(lane));
    case LaneRole::kData:
      ECHELON_CHECK(data == nullptr);
      data_lane = std::move(lane);
      data = std::make_unique<DataServer>(memory, *data_lane, DataServer::Of::kParent, &peers);
      data_thread = start_thread("data lane", [this] { run_data(); });
      return;
    case LaneRole::kHealth:
      ECHELON_CHECK(health == nullptr);
      health_lane = std::move(lane);
      health = std::make_unique<HealthServer>(hooks, options.lease, *health_lane, env);
      health_thread = start_thread("health lane", [this] { run_health(); });
      return;
    case LaneRole::kPeer:
      return;  // accept_peer()'s
  }
}

void SessionServer::connect_peers(PeerPlace place) {
  state_->peers.set_place(std::move(place));
}

void SessionServer::accept_peer(std::uint64_t link, std::unique_ptr<Lane> lane) {
  state_->peers.accept(link, std::move(lane));
}

/// Errors: kUnresponsive. OK also when it is to stop, or has lost its parent already.
Status SessionServer::State::await_lanes() {
  std::unique_lock lock(mutex);
  const bool in_time = lanes_signal.wait_for(
      lock, options.lanes_within, [this] { return lanes == kLanes || told || tasks.stopping(); });
  if (in_time) return {};
  return Status::error(
      Code::kUnavailable, Reason::kUnresponsive,
      fmt::format("its parent has connected {} of its {} lanes within {:g} s of READY", lanes,
                  kLanes, std::chrono::duration<double>(options.lanes_within).count()));
}

// --- the threads
// ----------------------------------------------------------------------------------

void SessionServer::State::run_data() {
  SpinPolicy spin(env);
  while (!joining()) {
    data_sleeper->look();
    if (data->pump()) {
      spin.restart();
    } else if (!data->failed().ok()) {
      return lost(data->failed());
    } else if (spin.step() == SpinStep::kSleep) {
      data_sleeper->sleep([&] { return joining() || data->has_news(); }, 0);
      spin.restart();
    }
  }
}

void SessionServer::State::run_health() {
  while (!joining()) {
    health_sleeper->look();
    health->pump();
    const MonotonicNs until = health->check_lease();
    if (!health->failed().ok()) return lost(health->failed());
    health_sleeper->sleep([&] { return joining() || health->has_news(); }, until);
  }
}

void SessionServer::State::lost(const Status& why) {
  {
    const std::lock_guard lock(mutex);
    if (std::exchange(told, true)) return;
    lanes_signal.notify_all();
    // What it had not understood it may want to hear.
    if (health != nullptr) health->goodbye(why);
  }
  tasks.fail(why);
  // Told to end, it ends: that its parent then leaves is no loss.
  if (!tasks.stopping() && options.on_lost) options.on_lost(why);
}

// --- the executor and others
// ----------------------------------------------------------------------

Status SessionServer::serve(TaskHandler& handler) {
  Status status = state_->await_lanes();
  if (status.ok()) status = state_->tasks.serve(handler);
  if (!status.ok()) state_->lost(status);
  return status;
}

void SessionServer::stop() {
  state_->tasks.stop();
  state_->wake_waiter();
}

void SessionServer::abandon() {
  state_->tasks.abandon();
  state_->wake_waiter();
}

void SessionServer::State::wake_waiter() {
  // Not between what it looks at and its sleep.
  { const std::lock_guard lock(mutex); }
  lanes_signal.notify_all();
}

void SessionServer::close(const Status& why) {
  State& state = *state_;
  state.tasks.close(why);
  {
    const std::lock_guard lock(state.mutex);
    if (state.data_lane != nullptr) state.data_lane->close(why);
    if (state.health != nullptr) state.health->goodbye(why);
  }
  const auto end = std::chrono::steady_clock::now() + state.options.words_wait;
  while (state.is_closing() && std::chrono::steady_clock::now() < end) {
    constexpr int kLookMs = 1;  // no lane says when it is through: nobody is to be told any more
    ::poll(nullptr, 0, kLookMs);
  }
}

bool SessionServer::State::is_closing() {
  const std::lock_guard lock(mutex);
  return tasks.is_closing() || (data_lane != nullptr && data_lane->is_closing()) ||
         (health_lane != nullptr && health_lane->is_closing());
}

void SessionServer::request_cancel(TaskId task) {
  state_->tasks.request_cancel(task);
}

std::chrono::nanoseconds SessionServer::silent_for() const {
  const std::lock_guard lock(state_->mutex);
  return state_->health == nullptr ? std::chrono::nanoseconds(0) : state_->health->silent_for();
}

const TaskServerCounters& SessionServer::counters() const {
  return state_->tasks.counters();
}

TaskId SessionServer::running() const {
  return state_->tasks.running();
}

Result<std::shared_ptr<const Payload>> SessionServer::take_payload(std::uint64_t id,
                                                                   std::uint64_t bytes) {
  const std::lock_guard lock(state_->mutex);
  if (state_->data == nullptr) return not_attached();
  return state_->data->take_payload(id, bytes);
}

bool SessionServer::answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) {
  const std::lock_guard lock(state_->mutex);
  return state_->health != nullptr && state_->health->answer(kind, token, body);
}

}  // namespace echelon
