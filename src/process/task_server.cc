// SPDX-License-Identifier: Apache-2.0
#include "process/task_server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "base/error_codec.h"
#include "shm/waiter.h"

namespace echelon {
namespace {

std::optional<TaskKind> task_kind(FrameKind kind) {
  switch (kind) {
    case FrameKind::kSubTask:
      return TaskKind::kSub;
    case FrameKind::kOrchTask:
      return TaskKind::kOrch;
    case FrameKind::kChipTask:
      return TaskKind::kChip;
    case FrameKind::kCopyTask:
      return TaskKind::kCopy;
    default:
      return std::nullopt;
  }
}

// One for all tasks of a server: its buffers keep their size.
class Outcome final : public ResultSink {
 public:
  void clear() {
    bytes_.clear();
    error_.reset();
  }
  void result(std::span<const std::byte> bytes) override {
    error_.reset();
    bytes_.assign(bytes.begin(), bytes.end());
  }
  void error(const ErrorInfo& info) override {
    bytes_.clear();
    error_ = info;
  }
  bool failed() const { return error_.has_value(); }
  const ErrorInfo& info() const { return *error_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  std::optional<ErrorInfo> error_;
};

// Bytes of the tensors that a task was given.
struct TensorBytes {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
};

TensorBytes tensor_bytes(const TaskBody& body) {
  TensorBytes sum;
  for (const TaggedTensor& tensor : body.tensors) {
    const std::uint64_t bytes = tensor.desc.payload_bytes();
    const bool written_only = tensor.tag == Tag::kOutput || tensor.tag == Tag::kOutputExisting;
    if (!written_only) sum.read += bytes;
    if (written_only || tensor.tag == Tag::kInout) sum.written += bytes;
  }
  return sum;
}

void run_guarded(TaskHandler& handler, const TaskFrame& task, Outcome& outcome) {
  ErrorInfo info;
  try {
    return handler.run(task, outcome);
  } catch (const std::exception& error) {
    info.message = fmt::format("uncaught exception: {}", error.what());
  } catch (...) {
    info.message = "uncaught exception of a type not derived from std::exception";
  }
  info.code = Code::kUnknown;
  info.reason = Reason::kException;
  info.cause = Cause::kException;
  info.phase = Phase::kRunning;
  outcome.error(info);
}

}  // namespace

struct TaskServer::State {
  State(Options given, ChannelChild& of, TreeEdge& over, Doorbell& ring, Env& clock)
      : options(std::move(given)), channel(of), edge(over), parent(ring), env(clock), spin(clock) {}

  void take(const RingFrame& frame, TaskHandler& handler);
  void execute(const RingFrame& frame, TaskKind kind, TaskHandler& handler);
  Status decode(const RingFrame& frame);
  Status publish(TaskId task);
  Status push_completion(const FrameHeader& header, std::span<const std::byte> body);
  void refuse(const Status& why, Phase phase);
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
  Outcome outcome;
  std::vector<std::byte> error_bytes;
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
    refuse(Status::error(Code::kDeadlineExceeded, Reason::kDeadline,
                         "its deadline had passed before it began"),
           Phase::kQueued);
  } else if (const Status decoded = decode(frame); !decoded.ok()) {
    refuse(decoded, Phase::kStaging);
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

void TaskServer::State::refuse(const Status& why, Phase phase) {
  ErrorInfo info = why.info();
  info.phase = phase;
  if (info.cause == Cause::kNone) {
    info.cause = info.reason == Reason::kDeadline ? Cause::kDeadline : Cause::kRefused;
  }
  outcome.error(info);
}

// Before the completion is published, so that whoever has it finds the figures, too.
void TaskServer::State::count(std::uint64_t busy_ns, const TensorBytes& bytes) {
  const bool failed = outcome.failed();
  const auto add = [](std::atomic<std::uint64_t>& to, std::uint64_t more) {
    to.store(to.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  };
  add(counters.tasks, 1);
  if (failed) add(counters.failed, 1);
  add(counters.busy_ns, busy_ns);
  add(counters.bytes_in, bytes.read);
  add(counters.bytes_out, bytes.written);
  channel.count_task(failed, busy_ns, bytes.read, bytes.written);
}

Status TaskServer::State::publish(TaskId task) {
  FrameHeader header;
  header.kind = FrameKind::kCompletion;
  header.task = task.value;
  if (!outcome.failed()) return push_completion(header, outcome.bytes());
  header.flags = kFlagError;
  ErrorInfo info = outcome.info();
  if (info.path.empty()) info.path = options.path;
  if (info.pid == 0 && info.path == options.path) info.pid = ::getpid();
  if (info.code == Code::kOk) info.code = Code::kUnknown;
  error_bytes = encode_error(info, kErrorBytesMax);
  return push_completion(header, error_bytes);
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
