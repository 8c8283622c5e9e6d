// SPDX-License-Identifier: Apache-2.0
//
// RemoteEndpoint off the dispatch path: its start, the health lane, how it ends.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "remote/remote_endpoint.h"
#include "remote/remote_endpoint_state.h"

namespace echelon {
namespace {

double seconds(MonotonicNs ns) {
  return static_cast<double>(ns) / 1e9;
}

MonotonicNs ns_of(std::chrono::nanoseconds time) {
  return static_cast<MonotonicNs>(time.count());
}

Status copy_cancelled() {
  ErrorInfo info;
  info.code = Code::kCancelled;
  info.reason = Reason::kCancelled;
  info.cause = Cause::kCancelled;
  info.message = "the copy was cancelled";
  return Status(std::move(info));
}

}  // namespace

// --- starting
// -------------------------------------------------------------------------------------

void RemoteEndpoint::note_phase(std::string_view phase) {
  const std::lock_guard lock(state_->mutex);
  state_->phase = phase;
}

LaneOptions RemoteEndpoint::lane_options(LaneRole role) {
  LaneOptions options;
  State* const state = state_.get();  // outlives its lanes
  if (role == LaneRole::kHealth) {
    options.notify = [state] {
      if (state->awaited.load(std::memory_order_relaxed) <= 0) return;
      if (state->options.wake_keeper) state->options.wake_keeper();
    };
  } else {
    options.notify = [state, data = role == LaneRole::kData] {
      if (data) state->data_poked.store(true, std::memory_order_relaxed);
      // pairs with the seq_cst load in has_news()
      state->poked.store(true, std::memory_order_seq_cst);
      if (state->options.wake) state->options.wake();
    };
  }
  return options;
}

void RemoteEndpoint::attach(const SessionReady& ready, RemoteLanes lanes) {
  State& state = *state_;
  ECHELON_CHECK(lanes.task != nullptr && lanes.data != nullptr && lanes.health != nullptr);
  ECHELON_CHECK(!state.is_up());
  {
    const std::lock_guard lock(state.mutex);
    if (state.down.load(std::memory_order_relaxed)) return;  // it ended meanwhile
    state.task_lane = std::move(lanes.task);
    state.health_lane = std::move(lanes.health);
    state.pool = ready.pool;
    state.address = ready.address;
    state.host = ready.host;
    state.pid = static_cast<pid_t>(ready.pid);
    const auto hello = encode_hello({kRemoteProtocolMajor, kRemoteProtocolMinor});
    LaneFrame frame;
    frame.kind = FrameKind::kHello;
    frame.body = hello;
    static_cast<void>(state.send_health_locked(frame));
  }
  state.data.attach(std::move(lanes.data));
  state.up.store(true, std::memory_order_release);  // pairs with is_up()
  state.wake();
}

StartProgress RemoteEndpoint::start_progress() const {
  const State& state = *state_;
  const std::lock_guard lock(state.mutex);
  StartProgress progress;
  progress.phase = state.phase;
  const std::uint32_t known = state.news.load(std::memory_order_relaxed);
  if (state.down.load(std::memory_order_relaxed) || known != 0) {
    progress.state = StartState::kFailed;
    progress.error = state.why_down_locked();
  } else if (state.is_up()) {
    progress.state = StartState::kReady;
  } else {
    progress.state = state.phase.empty() ? StartState::kBooting : StartState::kStarting;
  }
  return progress;
}

// --- ends
// -----------------------------------------------------------------------------------------

void RemoteEndpoint::State::wake() const {
  if (options.wake) options.wake();
  if (options.wake_keeper) options.wake_keeper();
}

void RemoteEndpoint::State::note(News what) {
  // pairs with the acquire load in poll(): what the note is about
  news.fetch_or(what, std::memory_order_release);
}

void RemoteEndpoint::State::end(const Status& why) {
  const std::lock_guard lock(mutex);
  end_locked(why);
}

// The first cause stays.
void RemoteEndpoint::State::end_locked(const Status& why) {
  if (!end_why.ok()) return;
  ErrorInfo info = located(why).info();
  if (info.traceback.empty()) info.traceback = stack;
  end_why = Status(std::move(info));
  note(kEndAsked);
  wake();
}

/// Its end shows: how it came may still be on its way.
void RemoteEndpoint::State::lose_locked(const Status& why) {
  if (!lost_why.ok()) return;
  lost_why = located(why);
  losing_since_ns.store(env.now_ns(), std::memory_order_relaxed);
  note(kLosing);
  wake();
}

Status RemoteEndpoint::State::broken(std::string_view lane, const Status& why) {
  ErrorInfo info = why.info();
  info.code = Code::kUnavailable;
  // Whatever the words, its end is what this means here.
  info.reason = Reason::kChildDied;
  info.cause = Cause::kPeerLost;
  info.message = fmt::format("its {} lane is down: {}", lane, info.message);
  return Status(std::move(info));
}

void RemoteEndpoint::note_ended(const Status& why) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (!state.ended.ok()) return;
  ErrorInfo info;
  if (!why.ok()) info = why.info();
  if (why.ok()) info.message = "its session has ended";
  if (info.code == Code::kOk || why.ok()) info.code = Code::kUnavailable;
  if (info.reason == Reason::kNone) info.reason = Reason::kChildDied;
  state.ended = state.located(Status(std::move(info)));
  state.note(State::kEnded);
  state.lose_locked(state.ended);
  state.wake();
}

// With this session's place where the error names none.
Status RemoteEndpoint::State::located(const Status& why) const {
  ErrorInfo info = why.info();
  if (info.path.empty()) info.path = options.path;
  if (!is_up()) return Status(std::move(info));
  if (info.host.empty()) info.host = host;
  // Of what happened further down the process is not this child.
  if (info.pid == 0 && info.path == options.path) info.pid = pid;
  return Status(std::move(info));
}

/// Who knows best: what was decided here, then its daemon, itself, what was seen from here.
Status RemoteEndpoint::State::why_down_locked() const {
  if (!down_why.ok()) return down_why;
  if (!end_why.ok()) return end_why;
  // Killed, as it had been told to end and went on.
  if (!shutdown_why.ok() && !ended.ok() && ended.info().cause == Cause::kSignal) {
    return located(shutdown_why);
  }
  for (const Status* why : {&ended, &farewell, &lost_why}) {
    if (!why->ok()) return *why;
  }
  return located(Status::error(Code::kUnavailable, Reason::kChildDied, "its session is gone"));
}

// --- the health lane
// ------------------------------------------------------------------------------

LaneSend RemoteEndpoint::State::send_health_locked(const LaneFrame& frame) {
  if (health_lane == nullptr || down.load(std::memory_order_relaxed)) return LaneSend::kDown;
  return send_frame(*health_lane, frame);
}

bool RemoteEndpoint::State::send_control_locked(FrameKind kind, std::uint64_t token) {
  // A cancel's own answer is its task's.
  if (kind != FrameKind::kCancel) awaited.fetch_add(1, std::memory_order_relaxed);
  LaneFrame frame;
  frame.kind = kind;
  frame.task = token;
  return send_health_locked(frame) == LaneSend::kSent;
}

void RemoteEndpoint::State::read_health_locked() {
  if (health_lane == nullptr || down.load(std::memory_order_relaxed)) return;
  // Asked before, so that it is seldom polled, and after: the transport goes on looking by itself.
  if (!health_lane->has_news()) return;
  HealthEvents events(*this);
  health_lane->poll(events);
  static_cast<void>(health_lane->has_news());
}

void RemoteEndpoint::State::take_health_locked(std::span<const std::byte> message) {
  if (!end_why.ok()) return;
  LaneFrameReader reader(message);
  LaneFrame frame;
  while (end_why.ok() && reader.next(frame)) {
    if (const Status taken = take_control_locked(frame); !taken.ok()) end_locked(taken);
  }
  if (!reader.status().ok()) end_locked(reader.status());
}

Status RemoteEndpoint::State::take_control_locked(const LaneFrame& frame) {
  if (frame.flags != 0) return bad_message("flags on the health lane");
  if (frame.kind == FrameKind::kHello) {
    if (std::exchange(greeted, true)) return bad_message("a second greeting");
    return decode_hello(frame.body, {kRemoteProtocolMajor, kRemoteProtocolMinor}).status();
  }
  if (!greeted) return bad_message("a session that does not greet first");
  switch (frame.kind) {
    case FrameKind::kPong:
      if (!ping_open || frame.task != ping_number) return bad_message("a pong not asked for");
      ping_open = false;
      // Then it lived for certain; when this was read is another matter.
      heard_ns = ping_sent_ns;
      return {};
    case FrameKind::kStatsReply:
      awaited.fetch_sub(1, std::memory_order_relaxed);
      stats_reply = StatsReply{frame.task, {frame.body.begin(), frame.body.end()}};
      return {};
    case FrameKind::kStackReply:
      if (!stack_asked) return bad_message("a stack that was not asked for");
      stack_asked = false;
      awaited.fetch_sub(1, std::memory_order_relaxed);
      stack.assign(reinterpret_cast<const char*>(frame.body.data()), frame.body.size());
      return {};
    case FrameKind::kRegisterReply:
    case FrameKind::kUnregisterReply: {
      ECHELON_ASSIGN_OR_RETURN(auto answer, decode_answer(frame.body));
      awaited.fetch_sub(1, std::memory_order_relaxed);
      registration_replies.push_back(
          {frame.task, frame.kind == FrameKind::kUnregisterReply, std::move(answer)});
      registration_answered.store(true, std::memory_order_relaxed);
      return {};
    }
    case FrameKind::kGoodbye: {
      Status bad;
      const Status why = error_in(frame.body, bad);
      if (!bad.ok()) return bad;
      farewell = located(why);
      lose_locked(farewell);
      return {};
    }
    default:
      return bad_message(
          fmt::format("kind {} on the health lane going up", static_cast<unsigned>(frame.kind)));
  }
}

MonotonicNs RemoteEndpoint::tick(MonotonicNs now) {
  State& state = *state_;
  if (state.data.stop_late(now)) state.wake();
  const std::lock_guard lock(state.mutex);
  if (state.down.load(std::memory_order_relaxed)) return 0;
  state.read_health_locked();
  if (!state.end_why.ok()) return 0;
  if (!state.lost_why.ok()) {
    const MonotonicNs until = state.losing_since_ns.load(std::memory_order_relaxed) +
                              ns_of(state.options.last_words_wait);
    if (now < until) return until;
    state.note(State::kWaitedEnough);
    state.wake();
    return 0;
  }
  if (!state.is_up()) return 0;
  // Down, that is: the wait for last words is part of it.
  const MonotonicNs patience = ns_of(std::max(
      state.options.silent_max - state.options.last_words_wait, state.options.silent_max / 2));
  const MonotonicNs every = ns_of(state.options.ping_every);
  // Nobody has looked for a while: its answer may be on its way.
  if (now - std::exchange(state.ticked_ns, now) > patience / 2) state.heard_ns = now;
  if (state.ping_open) {
    if (now < state.heard_ns + patience) return state.heard_ns + patience;
    state.lose_locked(Status::error(
        Code::kUnavailable, Reason::kUnresponsive,
        fmt::format("its session has not been heard for {:.1f} s: the host, the network between, "
                    "or the session stands still",
                    seconds(now - state.heard_ns))));
    return now + ns_of(state.options.last_words_wait);
  }
  if (now < state.ping_sent_ns + every) return state.ping_sent_ns + every;
  LaneFrame frame;
  frame.kind = FrameKind::kPing;
  frame.task = ++state.ping_number;
  frame.remaining_ns = ns_of(state.options.lease);
  // Without room for it nobody reads at the other end, which is silence, too.
  static_cast<void>(state.send_health_locked(frame));
  state.pings.fetch_add(1, std::memory_order_relaxed);
  state.ping_open = true;
  state.ping_sent_ns = now;
  return now + std::min(every, patience);
}

void RemoteEndpoint::request_cancel(TaskId task) {
  const State::Entry* const entry = state_->find(task);
  if (entry != nullptr && entry->where == State::Where::kCopying) {
    state_->peers.stop(task, copy_cancelled());
    return state_->data.stop(task, copy_cancelled());
  }
  const std::lock_guard lock(state_->mutex);
  state_->send_control_locked(FrameKind::kCancel, task.value);
  state_->request_stack_locked();
}

void RemoteEndpoint::request_shutdown(const Status& why) {
  const std::lock_guard lock(state_->mutex);
  state_->shutdown_why = why;
  state_->send_control_locked(FrameKind::kShutdown, 0);
}

bool RemoteEndpoint::request_stats(std::uint64_t token) {
  const std::lock_guard lock(state_->mutex);
  return state_->send_control_locked(FrameKind::kStatsRequest, token);
}

std::optional<RemoteEndpoint::StatsReply> RemoteEndpoint::take_stats_reply() {
  const std::lock_guard lock(state_->mutex);
  state_->read_health_locked();
  return std::exchange(state_->stats_reply, std::nullopt);
}

bool RemoteEndpoint::State::request_stack_locked() {
  if (stack_asked) return true;
  stack.clear();
  stack_asked = send_control_locked(FrameKind::kStackRequest, 0);
  return stack_asked;
}

bool RemoteEndpoint::request_stack() {
  // The deadline of a task here has passed. The session keeps those of its tasks itself.
  state_->data.stop_late(state_->env.now_ns());
  const std::lock_guard lock(state_->mutex);
  return state_->request_stack_locked();
}

void RemoteEndpoint::add_whereabouts(ErrorInfo& info) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  state.read_health_locked();
  if (info.traceback.empty()) info.traceback = state.stack;
  info = state.located(Status(std::move(info))).info();
}

// --- callables
// ------------------------------------------------------------------------------------

DispatchResult RemoteEndpoint::State::send_registration(const LaneFrame& frame) {
  const std::lock_guard lock(mutex);
  if (!end_why.ok() || !lost_why.ok()) return DispatchResult::kDown;
  awaited.fetch_add(1, std::memory_order_relaxed);
  switch (send_health_locked(frame)) {
    case LaneSend::kSent:
      return DispatchResult::kSent;
    case LaneSend::kNoRoom:
      awaited.fetch_sub(1, std::memory_order_relaxed);
      return DispatchResult::kNoRoom;
    case LaneSend::kDown:
      break;
  }
  return DispatchResult::kDown;
}

DispatchResult RemoteEndpoint::request_register(std::uint64_t token, const RegisterRequest& request,
                                                WakeBatch* /*wakes*/) {
  State& state = *state_;
  const bool ahead = request.payload->fd() >= 0;
  if (ahead) {
    const auto held = state.data.send_payload(request.serial, request.payload);
    // What else came meanwhile is the driver's.
    if (state.data.has_noted() && state.options.wake) state.options.wake();
    if (!held.ok()) {
      state.data.forget_payload(request.serial);
      const std::lock_guard lock(state.mutex);
      SubtreeAnswer refused;
      refused.add(
          {AnswerOutcome::kRefused, state.pid, state.options.path, held.status().info().message});
      state.registration_replies.push_back({token, false, std::move(refused)});
      state.registration_answered.store(true, std::memory_order_relaxed);
      state.wake();
      return DispatchResult::kSent;
    }
    if (*held != DispatchResult::kSent) return *held;
  }
  const auto body = encode_register(request, ahead ? request.serial : 0);
  LaneFrame frame;
  frame.kind = FrameKind::kRegister;
  frame.task = token;
  frame.slot = request.slot.value;
  frame.remaining_ns = remaining_of(request.deadline_ns, state.env.now_ns());
  frame.body = body;
  const DispatchResult sent = state.send_registration(frame);
  if (ahead && sent != DispatchResult::kNoRoom) state.data.forget_payload(request.serial);
  return sent;
}

DispatchResult RemoteEndpoint::request_unregister(std::uint64_t token, CallableSlot slot,
                                                  std::uint64_t serial, WakeBatch* /*wakes*/) {
  state_->data.forget_payload(serial);
  const auto body = encode_unregister(serial);
  LaneFrame frame;
  frame.kind = FrameKind::kUnregister;
  frame.task = token;
  frame.slot = slot.value;
  frame.body = body;
  return state_->send_registration(frame);
}

std::vector<RemoteEndpoint::RegistrationReply> RemoteEndpoint::take_registration_replies() {
  // Whoever read them from the lane is this thread, or has woken it.
  if (!state_->registration_answered.load(std::memory_order_relaxed)) return {};
  const std::lock_guard lock(state_->mutex);
  state_->registration_answered.store(false, std::memory_order_relaxed);
  return std::exchange(state_->registration_replies, {});
}

// --- tensors
// --------------------------------------------------------------------------------------

DispatchResult RemoteEndpoint::request_allocate(std::uint64_t token,
                                                std::span<const std::int64_t> shape, DType dtype,
                                                bool zeroed) {
  return state_->data.allocate(token, shape, dtype, zeroed);
}

std::vector<RemoteEndpoint::Allocation> RemoteEndpoint::take_allocations() {
  State& state = *state_;
  auto taken = state.data.take_allocations();
  for (Allocation& one : taken) {
    if (!one.tensor.ok()) {
      one.tensor = state.located(one.tensor.status());
    } else if (one.tensor->issuer != state.pool) {
      const Status bad = bad_message("an allocation that is not of its session's pool");
      state.end(bad);
      one.tensor = state.located(bad);
    }
  }
  return taken;
}

Uid RemoteEndpoint::pool() const {
  return state_->is_up() ? state_->pool : Uid{};
}

// --- looking
// --------------------------------------------------------------------------------------

const std::string& RemoteEndpoint::path() const {
  return state_->options.path;
}
pid_t RemoteEndpoint::pid() const {
  return state_->is_up() ? state_->pid : 0;
}
std::string RemoteEndpoint::host() const {
  return state_->is_up() ? state_->host : std::string();
}
std::string RemoteEndpoint::phase() const {
  const std::lock_guard lock(state_->mutex);
  return state_->phase;
}
bool RemoteEndpoint::down() const {
  return state_->down.load(std::memory_order_relaxed);
}
bool RemoteEndpoint::ending() const {
  return down() || state_->news.load(std::memory_order_relaxed) != 0;
}
Status RemoteEndpoint::down_status() const {
  const std::lock_guard lock(state_->mutex);
  return state_->why_down_locked();
}
bool RemoteEndpoint::gone() const {
  return state_->gone.load(std::memory_order_relaxed);
}

RemoteCounters RemoteEndpoint::counters() const {
  const State& state = *state_;
  RemoteCounters all;
  all.dispatched = state.dispatched.load(std::memory_order_relaxed);
  all.completed = state.completed.load(std::memory_order_relaxed);
  all.failed = state.failed.load(std::memory_order_relaxed);
  all.recalled = state.recalled.load(std::memory_order_relaxed);
  all.batches = state.batches.load(std::memory_order_relaxed);
  all.pings = state.pings.load(std::memory_order_relaxed);
  all.bytes_out = state.data.bytes_out();
  all.bytes_in = state.data.bytes_in();
  return all;
}

void RemoteEndpoint::add_counters(NodeInfo& info) const {
  const RemoteCounters all = counters();
  info.tasks = all.completed;
  info.tasks_failed = all.failed;
  info.bytes_in = all.bytes_out;
  info.bytes_out = all.bytes_in;
}

}  // namespace echelon
