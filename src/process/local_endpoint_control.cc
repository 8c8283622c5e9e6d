// SPDX-License-Identifier: Apache-2.0
//
// LocalEndpoint off the dispatch path: control frames, what the keeper learns, starting and ending.
#include <fmt/format.h>
#include <csignal>

#include <algorithm>
#include <utility>

#include "process/death_cause.h"
#include "process/last_words.h"
#include "process/local_endpoint.h"
#include "process/local_endpoint_state.h"

namespace echelon {
namespace {

// What a spawner may take to report an end that it has seen.
constexpr MonotonicNs kReportPatienceNs = 1'000'000'000;

// Pings in one unresponsive_after.
constexpr int kPingsPerPatience = 5;

// The last lines of what it wrote, for a message.
std::string tail_of(const ExitReport& report) {
  std::string_view text = report.stderr_tail;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text);
}

}  // namespace

// --- ends
// -----------------------------------------------------------------------------------------

void LocalEndpoint::State::note(News what) {
  // pairs with the acquire load in poll(): what the note is about, and what the child published
  news.fetch_or(what, std::memory_order_release);
}

void LocalEndpoint::State::end(const Status& why) {
  const std::lock_guard lock(mutex);
  end_locked(why);
}

// The first cause stays.
void LocalEndpoint::State::end_locked(const Status& why) {
  if (!end_why.ok()) return;
  ErrorInfo info = located(why).info();
  if (info.traceback.empty()) info.traceback = stack;
  end_why = Status(std::move(info));
  note(kEndAsked);
  process.kill(options.index);
}

// With this child's place where the error names none.
Status LocalEndpoint::State::located(const Status& why) const {
  ErrorInfo info = why.info();
  if (info.path.empty()) info.path = options.path;
  if (info.host.empty()) info.host = options.host;
  // Of what happened further down the process is not this child.
  if (info.pid == 0 && info.path == options.path) info.pid = pid.load(std::memory_order_relaxed);
  return Status(std::move(info));
}

Status LocalEndpoint::State::why_down(std::uint32_t known) const {
  const std::lock_guard lock(mutex);
  if ((known & kSpawnFailed) != 0) return located(spawn_failed);
  if (!end_why.ok()) return end_why;
  return death_locked();
}

// What it said itself, and what the kernel says.
Status LocalEndpoint::State::death_locked() const {
  DeathCause how = exit.has_value() ? DeathCause::from_wait_status(exit->wait_status)
                                    : death.value_or(DeathCause{});
  if (how.signal == SIGKILL && oom_kills_before.has_value()) {
    how.out_of_memory = oom_kill_count().value_or(0) > *oom_kills_before;
  }
  // Killed, as it had been told to end and went on.
  if (!shutdown_why.ok() && how.signal == SIGKILL && !how.out_of_memory) {
    return located(shutdown_why);
  }
  const Status words = read_last_words(channel);
  ErrorInfo info;
  if (!words.ok()) info = words.info();
  const std::string said = info.message;
  info.code = Code::kUnavailable;
  if (words.ok() || info.reason == Reason::kNone) info.reason = Reason::kChildDied;
  how.fill(info);
  info.message = fmt::format("its process {}{}", how.signal != 0 ? "was " : "", how.describe());
  if (!said.empty()) {
    info.message += ": " + said;
  } else if (exit.has_value() && how.signal == 0 && !tail_of(*exit).empty()) {
    info.message += ": " + tail_of(*exit);
  }
  return located(Status(std::move(info)));
}

void LocalEndpoint::note_spawned(pid_t pid) {
  const std::lock_guard lock(state_->mutex);
  state_->pid.store(pid, std::memory_order_relaxed);
  state_->oom_kills_before = oom_kill_count();
}

void LocalEndpoint::note_spawn_failed(const Status& why) {
  const std::lock_guard lock(state_->mutex);
  state_->spawn_failed = why;
  state_->note(State::kSpawnFailed);
}

void LocalEndpoint::note_owner_died() {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (!state.death.has_value()) {
    const pid_t child = state.pid.load(std::memory_order_relaxed);
    if (child != 0) state.death = read_death_cause(child);
  }
  // Its cause cannot be read: it was reaped already, or exit(0) is under way. The spawner's report
  // is about to come and has it; from a lost spawner none comes.
  const MonotonicNs now = state.env.now_ns();
  if (state.owner_died_ns == 0) state.owner_died_ns = now;
  const bool report_comes =
      (state.news.load(std::memory_order_relaxed) & State::kSpawnerLost) == 0 &&
      now - state.owner_died_ns < kReportPatienceNs;
  if (state.death.has_value() || state.exit.has_value() || !report_comes) {
    state.note(State::kOwnerDied);
  }
}

void LocalEndpoint::note_exited(const ExitReport& report) {
  const std::lock_guard lock(state_->mutex);
  state_->exit = report;
  state_->note(State::kExited);
}

void LocalEndpoint::note_spawner_lost(const Status& why) {
  const std::lock_guard lock(state_->mutex);
  state_->end_locked(why);
  state_->note(State::kSpawnerLost);
}

// --- the control rings
// ----------------------------------------------------------------------------

PushResult LocalEndpoint::State::push_control_locked(const FrameHeader& header,
                                                     std::span<const std::byte> body,
                                                     WakeBatch* wakes) {
  const PushResult pushed = channel.control_down.try_push(header, body);
  if (pushed == PushResult::kPushed && wakes != nullptr) {
    channel.control.ring(*wakes);
  } else if (pushed == PushResult::kPushed) {
    channel.control.ring();
  }
  if (pushed == PushResult::kBroken) {
    end_locked(Status::error(Code::kDataLoss, Reason::kBadFrame,
                             "its position in the control ring is impossible"));
  }
  return pushed;
}

bool LocalEndpoint::State::send_control_locked(FrameKind kind, std::uint64_t token) {
  if (down.load(std::memory_order_relaxed)) return false;
  FrameHeader header;
  header.kind = kind;
  header.task = token;
  return push_control_locked(header, {}) == PushResult::kPushed;
}

void LocalEndpoint::State::read_control_locked() {
  // The ring's own size bounds this round: more can only come from a child that never stops.
  for (std::size_t i = 0; i < kRingBytes / kFrameAlign && end_why.ok(); ++i) {
    RingFrame frame;
    const PeekResult found = channel.control_up.try_peek(frame);
    if (found == PeekResult::kEmpty) return;
    if (found == PeekResult::kBad) return end_locked(channel.control_up.error());
    take_control_locked(frame);
    channel.control_up.pop();
  }
}

void LocalEndpoint::State::take_control_locked(const RingFrame& frame) {
  const FrameHeader& header = frame.header;
  const auto bad = [&](std::string_view what) {
    end_locked(Status::error(Code::kDataLoss, Reason::kBadFrame, std::string(what)));
  };
  switch (header.kind) {
    case FrameKind::kPong:
      if (!ping_open || header.task != ping_number) return bad("a pong that was not asked for");
      ping_open = false;
      return;
    case FrameKind::kStatsReply:
      stats_reply = StatsReply{header.task, {frame.body.begin(), frame.body.end()}};
      return;
    case FrameKind::kAnnounce:
      if (!announcement.empty()) return bad("a second announcement");
      announcement.assign(frame.body.begin(), frame.body.end());
      return;
    case FrameKind::kStackReply:
      if (!stack_asked) return bad("a stack that was not asked for");
      stack_asked = false;
      stack.assign(reinterpret_cast<const char*>(frame.body.data()), frame.body.size());
      return;
    case FrameKind::kRegisterReply:
    case FrameKind::kUnregisterReply:
      return take_registration_locked(frame);
    default:
      return bad("a frame that does not belong on a control ring going up");
  }
}

MonotonicNs LocalEndpoint::tick(MonotonicNs now) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (state.down.load(std::memory_order_relaxed) || !state.end_why.ok()) return 0;
  state.read_control_locked();
  if (!state.end_why.ok()) return 0;
  const bool watched = state.in_flight.load(std::memory_order_relaxed) != 0 ||
                       (state.options.watch_idle && state.channel.state() == ChildState::kReady);
  if (!watched) return 0;
  const auto patience = static_cast<MonotonicNs>(state.options.unresponsive_after.count());
  const MonotonicNs interval = std::max<MonotonicNs>(patience / kPingsPerPatience, 1);
  // Nobody has looked for a while (nothing was in flight): its answer may be on its way.
  if (now - std::exchange(state.ticked_ns, now) > patience) state.ping_sent_ns = now;
  if (state.ping_open) {
    if (now < state.ping_sent_ns + patience) return state.ping_sent_ns + patience;
    const double seconds = static_cast<double>(patience) / 1e9;
    state.end_locked(Status::error(
        Code::kUnavailable, Reason::kUnresponsive,
        fmt::format("its process has not answered for {:.1f} s and was ended", seconds)));
    return 0;
  }
  if (now >= state.ping_sent_ns + interval) {
    if (state.send_control_locked(FrameKind::kPing, state.ping_number + 1)) {
      ++state.ping_number;
      ++state.counters.pings;
      state.ping_open = true;
      state.ping_sent_ns = now;
      return now + interval;
    }
    return now + interval;
  }
  return state.ping_sent_ns + interval;
}

void LocalEndpoint::request_cancel(TaskId task) {
  const std::lock_guard lock(state_->mutex);
  state_->send_control_locked(FrameKind::kCancel, task.value);
  state_->request_stack_locked();
}

void LocalEndpoint::request_shutdown(const Status& why) {
  const std::lock_guard lock(state_->mutex);
  state_->shutdown_why = why;
  state_->send_control_locked(FrameKind::kShutdown, 0);
}

bool LocalEndpoint::request_stats(std::uint64_t token) {
  const std::lock_guard lock(state_->mutex);
  return state_->send_control_locked(FrameKind::kStatsRequest, token);
}

std::optional<LocalEndpoint::StatsReply> LocalEndpoint::take_stats_reply() {
  const std::lock_guard lock(state_->mutex);
  state_->read_control_locked();
  return std::exchange(state_->stats_reply, std::nullopt);
}

bool LocalEndpoint::State::request_stack_locked() {
  if (stack_asked) return true;
  stack.clear();
  stack_asked = send_control_locked(FrameKind::kStackRequest, 0);
  return stack_asked;
}

bool LocalEndpoint::request_stack() {
  const std::lock_guard lock(state_->mutex);
  return state_->request_stack_locked();
}

void LocalEndpoint::add_whereabouts(ErrorInfo& info) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (!state.down.load(std::memory_order_relaxed)) state.read_control_locked();
  if (info.traceback.empty()) info.traceback = state.stack;
  info = state.located(Status(std::move(info))).info();
}

std::string LocalEndpoint::last_stack() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stack;
}

// --- starting and looking
// -------------------------------------------------------------------------

StartProgress LocalEndpoint::start_progress() const {
  const State& state = *state_;
  const std::lock_guard lock(state.mutex);
  StartProgress progress;
  progress.phase = state.channel.phase();
  switch (state.channel.state()) {
    case ChildState::kReady:
    case ChildState::kClosing:
      // Its pid comes another way, and a ready child has one.
      progress.state = state.pid.load(std::memory_order_relaxed) != 0 ? StartState::kReady
                                                                      : StartState::kStarting;
      return progress;
    case ChildState::kFailed:
      progress.state = StartState::kFailed;
      break;
    case ChildState::kBooting:
      progress.state = StartState::kBooting;
      break;
    case ChildState::kStarting:
      progress.state = StartState::kStarting;
      break;
  }
  const std::uint32_t known = state.news.load(std::memory_order_relaxed);
  if (!state.spawn_failed.ok()) {
    progress.state = StartState::kFailed;
    progress.error = state.located(state.spawn_failed);
  } else if (progress.state == StartState::kFailed) {
    const Status words = read_last_words(state.channel);
    progress.error = words.ok() ? state.death_locked() : state.located(words);
  } else if (!state.end_why.ok()) {
    progress.state = StartState::kFailed;
    progress.error = state.end_why;
  } else if ((known & State::kExited) != 0) {
    progress.state = StartState::kFailed;
    progress.error = state.death_locked();
  }
  return progress;
}

std::vector<std::byte> LocalEndpoint::take_announcement() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->down.load(std::memory_order_relaxed)) state_->read_control_locked();
  return std::exchange(state_->announcement, {});
}

LivenessWatch& LocalEndpoint::liveness() {
  return state_->watch;
}
const LocalEndpointOptions& LocalEndpoint::options() const {
  return state_->options;
}
pid_t LocalEndpoint::pid() const {
  return state_->pid.load(std::memory_order_relaxed);
}
void LocalEndpoint::add_counters(NodeInfo& info) const {
  const ChannelCounters counters = state_->channel.counters();
  info.tasks = counters.tasks_done + counters.tasks_failed;
  info.tasks_failed = counters.tasks_failed;
  info.busy = std::chrono::nanoseconds(counters.busy_ns);
  info.bytes_in = counters.bytes_in;
  info.bytes_out = counters.bytes_out;
}
std::string LocalEndpoint::phase() const {
  return state_->channel.phase();
}
bool LocalEndpoint::ending() const {
  return down() || state_->news.load(std::memory_order_relaxed) != 0;
}
bool LocalEndpoint::down() const {
  return state_->down.load(std::memory_order_relaxed);
}
Status LocalEndpoint::down_status() const {
  // pairs with note()
  return state_->why_down(state_->news.load(std::memory_order_acquire));
}
bool LocalEndpoint::gone() const {
  return state_->gone.load(std::memory_order_relaxed);
}
std::uint32_t LocalEndpoint::in_flight() const {
  return state_->in_flight.load(std::memory_order_relaxed);
}
EndpointCounters LocalEndpoint::counters() const {
  return state_->counters;
}
ChannelParent& LocalEndpoint::channel() {
  return state_->channel;
}
TreeEdge& LocalEndpoint::edge() {
  return *state_->edge;
}

}  // namespace echelon
