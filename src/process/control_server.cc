// SPDX-License-Identifier: Apache-2.0
#include "process/control_server.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <utility>

#include "base/env.h"
#include "process/child_boot.h"
#include "process/last_words.h"

namespace echelon {
namespace {

constexpr MonotonicNs kParentCheckNs = 5'000'000'000;
// Exit code of a process whose control ring or parent is gone.
constexpr int kExitAlone = 1;

std::span<const std::byte> as_bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

// --- the protocol
// ---------------------------------------------------------------------------------

Status ControlProtocol::handle(const FrameHeader& frame, std::span<const std::byte> body,
                               ControlReplies& replies) {
  if (frame.kind == FrameKind::kRegister || frame.kind == FrameKind::kUnregister) {
    return handle_registration(frame, body, replies);
  }
  if (!body.empty()) {
    return Status::error(Code::kDataLoss, Reason::kBadFrame,
                         fmt::format("a control frame of kind {} with {} bytes of body, expected 0",
                                     static_cast<unsigned>(frame.kind), body.size()));
  }
  switch (frame.kind) {
    case FrameKind::kPing:
      replies.reply(FrameKind::kPong, frame.task, {});
      return Status();
    case FrameKind::kCancel:
      if (hooks_.cancel) hooks_.cancel(TaskId{frame.task});
      return Status();
    case FrameKind::kShutdown:
      if (hooks_.shutdown) hooks_.shutdown();
      return Status();
    case FrameKind::kStatsRequest: {
      const auto stats = hooks_.stats ? hooks_.stats() : std::vector<std::byte>();
      replies.reply(FrameKind::kStatsReply, frame.task, stats);
      return Status();
    }
    case FrameKind::kStackRequest: {
      const std::string stack = hooks_.stack ? hooks_.stack() : std::string();
      replies.reply(FrameKind::kStackReply, frame.task, as_bytes_of(stack));
      return Status();
    }
    default:
      return Status::error(Code::kDataLoss, Reason::kBadFrame,
                           fmt::format("kind {} does not belong on a control ring going down",
                                       static_cast<unsigned>(frame.kind)));
  }
}

Status ControlProtocol::handle_registration(const FrameHeader& frame,
                                            std::span<const std::byte> body,
                                            ControlReplies& replies) {
  SubtreeAnswer answer;
  FrameKind reply = FrameKind::kUnregisterReply;
  if (frame.kind == FrameKind::kRegister) {
    ECHELON_ASSIGN_OR_RETURN(const RegisterFrame decoded, decode_register(frame, body));
    if (hooks_.registration != nullptr) {
      hooks_.registration->on_register(frame.task, decoded);
      return Status();
    }
    answer.add({AnswerOutcome::kRefused, ::getpid(), "", "this process takes no callables"});
    reply = FrameKind::kRegisterReply;
  } else {
    ECHELON_ASSIGN_OR_RETURN(const std::uint64_t serial, decode_unregister(frame, body));
    if (hooks_.registration != nullptr) {
      hooks_.registration->on_unregister(frame.task, CallableSlot{frame.slot}, serial);
      return Status();
    }
  }
  replies.reply(reply, frame.task, encode_answer(answer, kAnswerMessageBytesMax));
  return Status();
}

// --- over a channel
// ---------------------------------------------------------------------------------

struct ControlServer::State final : ControlReplies {
  State(ChannelChild& of, Doorbell& ring, ControlHooks hooks)
      : channel(of), parent(ring), protocol(std::move(hooks)) {}

  // A parent that reads no answers gets none: whoever asked has a deadline of its own.
  void reply(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) override {
    static_cast<void>(
        push(kind, token, body.first(std::min(body.size(), channel.control_up.body_bytes_max()))));
  }

  bool push(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) {
    FrameHeader header;
    header.kind = kind;
    header.task = token;
    {
      // The ring has one producer at a time.
      const std::lock_guard lock(mutex);
      if (channel.control_up.try_push(header, body) != PushResult::kPushed) return false;
    }
    // Pongs are read when the next ping is due; somebody waits for the others.
    if (kind == FrameKind::kPong) return true;
    if (kind == FrameKind::kRegisterReply || kind == FrameKind::kUnregisterReply) {
      parent.ring_answer();
    } else {
      parent.wake_keeper();
    }
    return true;
  }

  std::mutex mutex;
  ChannelChild& channel;
  Doorbell& parent;
  ControlProtocol protocol;
  Status failed;
};

ControlServer::ControlServer(ChannelChild& channel, Doorbell& parent, ControlHooks hooks)
    : state_(std::make_unique<State>(channel, parent, std::move(hooks))) {}

ControlServer::~ControlServer() = default;

Status ControlServer::poll() {
  State& state = *state_;
  if (!state.failed.ok()) return Status();
  RingConsumer& ring = state.channel.control_down;
  for (;;) {
    RingFrame frame;
    const PeekResult found = ring.try_peek(frame);
    if (found == PeekResult::kEmpty) return Status();
    if (found == PeekResult::kFrame) {
      state.failed = state.protocol.handle(frame.header, frame.body, state);
      ring.pop();
    } else {
      state.failed = ring.error();
    }
    if (!state.failed.ok()) return state.failed;
  }
}

FutexWaiter ControlServer::arm() {
  return state_->channel.control.arm();
}

void ControlServer::disarm() {
  state_->channel.control.disarm();
}

bool ControlServer::answer(FrameKind kind, std::uint64_t token, std::span<const std::byte> body) {
  return state_->push(kind, token, body);
}

bool ControlServer::pending() const {
  return state_->failed.ok() && state_->channel.control_down.pending();
}

// --- the thread
// -------------------------------------------------------------------------------------

struct ControlThread::State {
  State(ControlServer& of, ChannelChild& over, pid_t spawner, std::shared_ptr<RegistrarJobs> work)
      : server(of), channel(over), spawner_pid(spawner), jobs(std::move(work)) {}

  ControlServer& server;
  ChannelChild& channel;
  const pid_t spawner_pid;
  const std::shared_ptr<RegistrarJobs> jobs;  // nullptr: none
  std::atomic<bool> stopping{false};
  SystemEnv clock;
  std::mutex poll_mutex;  // whoever looks at the ring
  std::mutex threads_mutex;
  std::array<std::thread, 2> threads;  // the second is made with the first job

  static void start(const std::shared_ptr<State>& state, std::size_t thread);
  static void run(const std::shared_ptr<State>& state);
  // pairs with the seq_cst store in ~ControlThread
  bool done() const { return stopping.load(std::memory_order_seq_cst); }
  bool job_waits() const { return jobs != nullptr && jobs->waiting(); }
  bool frame_waits();
  void poll();
  void hand_over(const std::shared_ptr<State>& self);
  void end_process(const Status& why);
};

ControlThread::ControlThread(ControlServer& server, ChannelChild& channel, pid_t spawner_pid,
                             std::shared_ptr<RegistrarJobs> jobs)
    : state_(std::make_shared<State>(server, channel, spawner_pid, std::move(jobs))) {
  if (state_->jobs != nullptr) {
    state_->jobs->when_posted([&word = channel.control] { word.wake(); });
  }
  State::start(state_, 0);
}

ControlThread::~ControlThread() {
  // pairs with the seq_cst load in done(): a sleeper's re-read sees it, or is woken
  state_->stopping.store(true, std::memory_order_seq_cst);
  std::thread::id blocked;
  if (state_->jobs != nullptr) blocked = state_->jobs->stop();
  std::array<std::thread, 2> threads;
  {
    const std::lock_guard lock(state_->threads_mutex);
    std::swap(threads, state_->threads);
  }
  for (std::size_t i = 0; i < threads.size(); ++i) state_->channel.control.wake();
  for (std::thread& thread : threads) join_or_leave(thread, blocked);
}

void ControlThread::State::start(const std::shared_ptr<State>& state, std::size_t thread) {
  const std::lock_guard lock(state->threads_mutex);
  if (state->threads[thread].joinable() || state->done()) return;
  // Signals are the executor's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state->threads[thread] = std::thread([state] { run(state); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// After work() that stop() did not wait for nothing but `state` itself is there.
void ControlThread::State::run(const std::shared_ptr<State>& state) {
  ::pthread_setname_np(::pthread_self(), "control");
  static_cast<void>(use_alternate_stack());
  State& self = *state;
  MonotonicNs check_at = self.clock.now_ns() + kParentCheckNs;
  while (!self.done()) {
    self.poll();
    if (self.job_waits()) {
      self.hand_over(state);
      self.jobs->work();
      continue;
    }
    self.channel.control.sleep(
        [&] { return self.frame_waits() || self.job_waits() || self.done(); }, check_at);
    if (const MonotonicNs now = self.clock.now_ns(); now >= check_at) {
      check_at = now + kParentCheckNs;
      if (!spawner_is_parent(self.spawner_pid)) ::_exit(kExitAlone);
    }
  }
}

void ControlThread::State::poll() {
  const std::lock_guard lock(poll_mutex);
  if (const Status polled = server.poll(); !polled.ok()) end_process(polled);
}

bool ControlThread::State::frame_waits() {
  const std::lock_guard lock(poll_mutex);
  return server.pending();
}

/// From here on a frame wakes the other thread.
void ControlThread::State::hand_over(const std::shared_ptr<State>& self) {
  start(self, 1);
  for (;;) {
    channel.control.arm();
    if (!frame_waits()) return;
    poll();
  }
}

void ControlThread::State::end_process(const Status& why) {
  write_last_error(channel, why.info());
  // The parent reads the death from the liveness word, its cause from the last words.
  std::fprintf(stderr, "echelon: %s\n", why.to_string().c_str());
  ::_exit(kExitAlone);
}

}  // namespace echelon
