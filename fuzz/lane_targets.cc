// SPDX-License-Identifier: Apache-2.0
//
// The servers themselves, at the end of a lane whose other end says the input.
#include <array>
#include <memory>

#include "base/check.h"
#include "base/error_codec.h"
#include "observe/node_stats.h"
#include "process/registration_codec.h"
#include "remote/data_server.h"
#include "remote/health_server.h"
#include "remote/session_boot.h"
#include "remote/sim/sim_lanes.h"
#include "remote/task_lane.h"
#include "shm/pool.h"
#include "shm/task_body.h"
#include "target.h"

namespace echelon::fuzz {
namespace {

/// A lane on which all messages of the input have come, and then its end.
struct Said {
  explicit Said(Bytes input) : lanes(make_sim_lanes()) {
    for (const Bytes message : unpack(input)) {
      const std::array<Bytes, 1> segments = {message};
      if (lanes.a->try_send(segments) != LaneSend::kSent) break;
    }
    lanes.a->close({});
  }
  SimLanes lanes;
};

Seed frame_seed(const LaneFrame& frame) {
  const LaneFrameHead head = encode_head(frame);
  Seed seed;
  for (const Bytes part : {Bytes(head), frame.body, padding_of(frame.body.size())}) {
    seed.insert(seed.end(), part.begin(), part.end());
  }
  return seed;
}

Seed frame_seed(FrameKind kind, Bytes body, std::uint64_t task = 1, std::uint16_t flags = 0) {
  LaneFrame frame;
  frame.kind = kind;
  frame.flags = flags;
  frame.task = task;
  frame.slot = 2;
  frame.remaining_ns = 1'000'000'000;
  frame.body = body;
  return frame_seed(frame);
}

constexpr Uid kIssuer{7};

/// Of the tensor that is there from the start.
BufferId first_buffer() {
  static const BufferId kFirst =
      HostPool::create(kIssuer, {4096, 4096, "seed"}).value()->allocate(256).value();
  return kFirst;
}

TensorDesc sample_tensor() {
  const std::array<std::int64_t, 2> shape = {4, 16};
  return make_contiguous(kIssuer, first_buffer(), kIssuer, DType::kFloat32, shape,
                         Access::kReadWrite);
}

// --- task lane
// ------------------------------------------------------------------------------------

/// Looks at all that a task says.
class Reader final : public TaskHandler {
 public:
  void run(const TaskFrame& task, ResultSink& sink) override {
    std::uint64_t sum = task.slot.value;
    for (const TaggedTensor& tensor : task.body.tensors) sum += tensor.desc.payload_bytes();
    for (const ScalarValue& scalar : task.body.scalars) sum += scalar.bits;
    sink.result(std::as_bytes(std::span(&sum, 1)));
  }
};

void run_task_lane(Bytes input) {
  Said said(input);
  SystemEnv env;
  TaskLane tasks("pod0/host1", env);
  tasks.attach(std::move(said.lanes.b));
  Reader reader;
  ECHELON_CHECK(!tasks.serve(reader).ok());
}

std::vector<Seed> seeds_of_task_lane() {
  const TaggedTensor tensor{sample_tensor(), Tag::kInput};
  Seed body(task_body_bytes({&tensor, 1}, {}, nullptr));
  encode_task_body({&tensor, 1}, {}, nullptr, body);
  const std::size_t half = body.size() / 2;
  return {pack({frame_seed(FrameKind::kOrchTask, body), frame_seed(FrameKind::kSubTask, body, 2)}),
          pack({frame_seed(FrameKind::kOrchTask, Bytes(body).first(half), 3, kFlagMore),
                frame_seed(FrameKind::kOrchTask, Bytes(body).subspan(half), 3)})};
}

/// The parent's end: completions.
void run_completions(Bytes input) {
  BodyAssembly assembly;
  for (const Bytes message : unpack(input)) {
    LaneFrameReader reader(message);
    LaneFrame frame;
    while (reader.next(frame)) {
      const auto whole = assembly.add(frame);
      if (!whole.ok()) return;
      if (!*whole) continue;
      if ((frame.flags & kFlagError) != 0) static_cast<void>(decode_error(frame.body));
      ECHELON_CHECK(frame.body.size() <= kLaneBodyBytesMax);
      assembly.clear();
    }
    if (!reader.status().ok()) return;
  }
}

std::vector<Seed> seeds_of_completions() {
  ErrorInfo info;
  info.code = Code::kInternal;
  info.message = "it threw";
  return {pack({frame_seed(FrameKind::kCompletion, bytes_of("result")),
                frame_seed(FrameKind::kCompletion, encode_error(info), 2, kFlagError)})};
}

// --- health lane
// ----------------------------------------------------------------------------------

struct Registrations final : RegistrationHooks {
  void on_register(std::uint64_t, const RegisterFrame& frame) override {
    static_cast<void>(doing_text(frame.request));
  }
  void on_unregister(std::uint64_t, CallableSlot, std::uint64_t) override {}
};

void run_health_lane(Bytes input) {
  Said said(input);
  SystemEnv env;
  Registrations registrations;
  ControlHooks hooks;
  hooks.cancel = [](TaskId) {};
  hooks.shutdown = [] {};
  hooks.registration = &registrations;
  HealthServer server(std::move(hooks), std::chrono::seconds(10), *said.lanes.b, env);
  while (server.pump()) {}
  ECHELON_CHECK(!server.failed().ok());
}

std::vector<Seed> seeds_of_health_lane() {
  const auto hello =
      frame_seed(FrameKind::kHello, encode_hello({kRemoteProtocolMajor, kRemoteProtocolMinor}));
  RegisterRequest request;
  request.slot = CallableSlot{2};
  request.serial = 9;
  request.owner = 3;
  request.name = "square";
  request.payload = Payload::make(bytes_of("square")).value();
  request.digest = sha256(std::string_view("square"));
  return {pack({hello, frame_seed(FrameKind::kPing, {}, 5), frame_seed(FrameKind::kCancel, {}),
                frame_seed(FrameKind::kStatsRequest, {}), frame_seed(FrameKind::kShutdown, {})}),
          pack({hello, frame_seed(FrameKind::kRegister, encode_register(request, 0)),
                frame_seed(FrameKind::kUnregister, encode_unregister(9))}),
          pack({hello, frame_seed(FrameKind::kGoodbye, encode_error(ErrorInfo{}))})};
}

/// The parent's end: greetings, statistics, how registrations went.
void run_health_answers(Bytes input) {
  for (const Bytes message : unpack(input)) {
    LaneFrameReader reader(message);
    LaneFrame frame;
    while (reader.next(frame)) {
      static_cast<void>(
          decode_hello(frame.body, Hello{kRemoteProtocolMajor, kRemoteProtocolMinor}));
      static_cast<void>(decode_answer(frame.body));
      static_cast<void>(decode_node(frame.body));
      Status bad;
      static_cast<void>(error_in(frame.body, bad));
    }
  }
}

std::vector<Seed> seeds_of_health_answers() {
  NodeInfo node;
  node.path = node.name = "host1";
  SubtreeAnswer answer;
  answer.add({AnswerOutcome::kSilent, 17, "pod0/host1", "no answer"});
  return {pack({frame_seed(FrameKind::kPong, {}, 5),
                frame_seed(FrameKind::kStatsReply, encode_node(node)),
                frame_seed(FrameKind::kRegisterReply, encode_answer(answer, 4096)),
                frame_seed(FrameKind::kGoodbye, encode_error(ErrorInfo{}))})};
}

// --- data lane
// ------------------------------------------------------------------------------------

/// A session's memory: a pool, and small.
class PoolMemory final : public SessionMemory {
 public:
  Result<TensorDesc> allocate(std::span<const std::int64_t> shape, DType dtype, bool) override {
    std::uint64_t bytes = size_of(dtype);
    for (const std::int64_t extent : shape) {
      if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
        return Status::error(Code::kInvalidArgument, Reason::kBadArgument, "no shape");
      }
    }
    ECHELON_ASSIGN_OR_RETURN(const BufferId id, pool_->allocate(bytes));
    return make_contiguous(kIssuer, id, kIssuer, dtype, shape, Access::kReadWrite);
  }
  Status free(BufferId buffer) override { return pool_->free(buffer); }
  Result<std::byte*> open(const TensorDesc& tensor, Access want) override {
    return pool_->open(tensor, want);
  }

 private:
  static constexpr std::size_t kBytesMax = 1 << 20;
  const std::unique_ptr<HostPool> pool_ =
      HostPool::create(kIssuer, {kBytesMax, kBytesMax, "pod0/host1"}).value();
};

void run_data_lane(Bytes input) {
  Said said(input);
  PoolMemory memory;
  const std::array<std::int64_t, 2> shape = {4, 16};
  const auto first = memory.allocate(shape, DType::kFloat32, true);
  ECHELON_CHECK(first.ok() && first->buffer == first_buffer());
  DataServer server(memory, *said.lanes.b);
  constexpr int kRoundsMax = 10'000;
  for (int i = 0; i < kRoundsMax && server.pump(); ++i) {}
}

Seed data_seed(const DataMessage& message) {
  DataHead head;
  const std::size_t bytes = encode_data(message, head);
  Seed seed = seed_of(Bytes(head).first(bytes));
  seed.insert(seed.end(), message.bytes.begin(), message.bytes.end());
  return seed;
}

DataMessage data_message(DataKind kind, Bytes bytes = {}) {
  DataMessage message;
  message.kind = kind;
  message.flags = kDataLast;
  message.request = 3;
  message.tensor = sample_tensor();
  message.bytes = bytes;
  message.length = kind == DataKind::kRead ? 256 : bytes.size();
  return message;
}

std::vector<Seed> seeds_of_data_lane() {
  DataMessage allocate = data_message(DataKind::kAllocate);
  allocate.flags = 0;
  allocate.dtype = DType::kInt32;
  allocate.rank = 1;
  allocate.extent[0] = 8;
  DataMessage free = data_message(DataKind::kFree);
  free.flags = 0;
  free.buffer = first_buffer();
  DataMessage read = data_message(DataKind::kRead);
  read.flags = 0;
  const Seed row(256);
  return {pack({data_seed(allocate), data_seed(data_message(DataKind::kWrite, row)),
                data_seed(read), data_seed(free)}),
          pack({data_seed(data_message(DataKind::kPayload, bytes_of("payload")))})};
}

/// The parent's end: answers.
void run_data_answers(Bytes input) {
  for (const Bytes message : unpack(input)) {
    const auto decoded = decode_data(message);
    if (!decoded.ok()) continue;
    Status bad;
    if (decoded->failed()) static_cast<void>(error_in(decoded->bytes, bad));
    const Seed again = data_seed(*decoded);
    ECHELON_CHECK(decode_data(again).ok(), again.size());
  }
}

std::vector<Seed> seeds_of_data_answers() {
  DataMessage failed = data_message(DataKind::kWritten);
  failed.flags = kDataError;
  const auto error = encode_error(ErrorInfo{});
  failed.bytes = error;
  DataMessage allocated = data_message(DataKind::kAllocated);
  allocated.flags = 0;
  return {pack({data_seed(allocated), data_seed(failed),
                data_seed(data_message(DataKind::kReadData, bytes_of("bytes")))})};
}

// --- a session's start
// ----------------------------------------------------------------------------

void run_announcement(Bytes input) {
  const auto ready = decode_announcement(input);
  if (!ready.ok()) return;
  const auto again = encode_announcement(*ready);
  ECHELON_CHECK(again.ok() && decode_announcement(*again)->token == ready->token);
}

std::vector<Seed> seeds_of_announcement() {
  SessionReady ready;
  ready.address = "127.0.0.1:7172";
  ready.token = "0123456789abcdef";
  ready.pool = Uid{7};
  return {encode_announcement(ready).value()};
}

constexpr std::array kTargets = {
    Target{"task_lane", "a session's executor: frames, pieces, task bodies", run_task_lane,
           seeds_of_task_lane},
    Target{"completions", "its parent's end", run_completions, seeds_of_completions},
    Target{"health_lane", "a session's health lane: greetings, pings, registrations",
           run_health_lane, seeds_of_health_lane},
    Target{"health_answers", "its parent's end", run_health_answers, seeds_of_health_answers},
    Target{"data_lane", "a session's data lane: allocate, write, read, payloads", run_data_lane,
           seeds_of_data_lane},
    Target{"data_answers", "its parent's end", run_data_answers, seeds_of_data_answers},
    Target{"announcement", "what a session says to its daemon", run_announcement,
           seeds_of_announcement},
};

}  // namespace

std::span<const Target> lane_targets() {
  return kTargets;
}

}  // namespace echelon::fuzz
