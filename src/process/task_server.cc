// SPDX-License-Identifier: Apache-2.0
#include "process/task_server.h"

#include <fmt/format.h>

#include <utility>

#include "process/task_run.h"
#include "shm/waiter.h"

namespace echelon {

struct TaskServer::State {
  State(Options given, ChannelChild& of, TreeEdge& over, Doorbell& ring, Env& clock)
      : options(std::move(given)), channel(of), edge(over), parent(ring), env(clock), spin(clock) {}

  void take(const RingFrame& frame, TaskHandler& handler);
  void execute(const RingFrame& frame, TaskKind kind, TaskHandler& handler);
  Status decode(const RingFrame& frame);
  Status publish(TaskId task);
  Status push_completion(const FrameHeader& header, std::span<const std::byte> body);
  void count(std::uint64_t busy_ns, const TensorBytes& bytes);

  const Options options;
  ChannelChild& channel;
  TreeEdge& edge;
  Doorbell& parent;
  Env& env;
  SpinPolicy spin;
  TaskBody body;
  Mapping spill;                          // of the task that runs
  std::span<const std::byte> body_bytes;  // likewise
  TaskOutcome outcome;
  Status broken;  // our own end can do no more
  TaskServerCounters counters;
  std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> running{0};
  std::atomic<std::uint64_t> cancelled{0};
};

TaskServer::TaskServer(Options options, ChannelChild& channel, TreeEdge& edge, Doorbell& parent,
                       Env& env)
    : state_(std::make_unique<State>(std::move(options), channel, edge, parent, env)) {}

TaskServer::~TaskServer() = default;

Status TaskServer::serve(TaskHandler& handler) {
  State& state = *state_;
  RingConsumer& tasks = state.channel.tasks;
  // pairs with the seq_cst store in stop(), which then wakes
  const auto stopping = [&] { return state.stopping.load(std::memory_order_seq_cst); };
  state.spin.restart();
  while (!stopping()) {
    RingFrame frame;
    switch (tasks.try_peek(frame)) {
      case PeekResult::kFrame:
        state.take(frame, handler);
        if (!state.broken.ok()) return state.broken;
        state.spin.restart();
        break;
      case PeekResult::kBad:
        return tasks.error();
      case PeekResult::kEmpty:
        if (state.spin.step() != SpinStep::kSleep) break;
        state.channel.executor.sleep([&] { return tasks.pending() || stopping(); }, 0);
        state.spin.restart();
        break;
    }
  }
  return Status();
}

void TaskServer::stop() {
  // pairs with the seq_cst load in serve(): the sleeper's re-read sees it, or is woken
  state_->stopping.store(true, std::memory_order_seq_cst);
  state_->channel.executor.wake();
}

void TaskServer::request_cancel(TaskId task) {
  state_->cancelled.store(task.value, std::memory_order_relaxed);
}

const TaskServerCounters& TaskServer::counters() const {
  return state_->counters;
}

TaskId TaskServer::running() const {
  return TaskId{state_->running.load(std::memory_order_relaxed)};
}

void TaskServer::State::take(const RingFrame& frame, TaskHandler& handler) {
  if ((frame.header.flags & kFlagPush) != 0) edge.fetch_more();
  if (frame.header.kind == FrameKind::kReleaseBuffer) {
    const BufferId buffer{frame.header.task};
    channel.tasks.pop();
    if (buffer.value != 0) return handler.release_buffer(buffer);
    parent.ring();  // room on the edge's socket: its parent may go on
    return;
  }
  if (!channel.tasks.claim_taken()) return channel.tasks.pop();  // recalled
  const auto kind = task_kind(frame.header.kind);
  ECHELON_CHECK(kind.has_value(), static_cast<unsigned>(frame.header.kind));
  execute(frame, *kind, handler);
}

void TaskServer::State::execute(const RingFrame& frame, TaskKind kind, TaskHandler& handler) {
  const FrameHeader& header = frame.header;
  const MonotonicNs began = env.now_ns();
  running.store(header.task, std::memory_order_relaxed);
  outcome.clear();
  TensorBytes bytes;
  if (header.deadline != 0 && header.deadline <= began) {
    outcome.refuse(too_late(), Phase::kQueued);
  } else if (const Status decoded = decode(frame); !decoded.ok()) {
    outcome.refuse(decoded, Phase::kStaging);
  } else {
    bytes = tensor_bytes(body);
    run_guarded(handler,
                TaskFrame{TaskId{header.task}, kind, CallableSlot{header.slot}, header.deadline,
                          body, body_bytes, cancelled},
                outcome);
  }
  running.store(0, std::memory_order_relaxed);
  count(env.now_ns() - began, bytes);
  broken = publish(TaskId{header.task});
  channel.tasks.pop();
  parent.ring();
  body_bytes = {};
  spill.reset();
}

Status TaskServer::State::decode(const RingFrame& frame) {
  body_bytes = frame.body;
  if ((frame.header.flags & kFlagSpill) != 0) {
    body_bytes = {};
    ECHELON_ASSIGN_OR_RETURN(spill, edge.take_spill(frame.body));
    body_bytes = spill.bytes();
  }
  return decode_task_body(body_bytes, body);
}

// Before the completion is published, so that whoever has it finds the figures, too.
void TaskServer::State::count(std::uint64_t busy_ns, const TensorBytes& bytes) {
  const bool failed = outcome.failed();
  count_task(counters, failed, busy_ns, bytes);
  channel.count_task(failed, busy_ns, bytes.read, bytes.written);
}

Status TaskServer::State::publish(TaskId task) {
  FrameHeader header;
  header.kind = FrameKind::kCompletion;
  header.task = task.value;
  if (!outcome.failed()) return push_completion(header, outcome.bytes());
  header.flags = kFlagError;
  return push_completion(header, outcome.encoded_error(options.path));
}

Status TaskServer::State::push_completion(const FrameHeader& header,
                                          std::span<const std::byte> bytes) {
  FrameHeader of = header;
  SpillData where{};
  if (bytes.size() > kCompletionBodyMax) {
    auto sent = edge.send_spill(bytes, {}, /*wait=*/true);
    if (!sent.ok() && (of.flags & kFlagError) == 0) {
      ErrorInfo info = sent.status().info();
      info.phase = Phase::kReturning;
      info.message =
          fmt::format("its result of {} bytes cannot be returned: {}", bytes.size(), info.message);
      outcome.error(info);
      return publish(TaskId{of.task});
    }
    if (!sent.ok()) return sent.status();
    where = sent.value();
    of.flags = static_cast<std::uint16_t>(of.flags | kFlagSpill);
    bytes = std::as_bytes(std::span(&where, 1));
  }
  if (channel.completions.try_push(of, bytes) == PushResult::kPushed) return Status();
  // The parent reserves this room before it sends a task.
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "no room for a completion: the parent does not keep to its window");
}

}  // namespace echelon
