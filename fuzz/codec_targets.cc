// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/error_codec.h"
#include "observe/node_stats.h"
#include "process/control_server.h"
#include "process/registration_codec.h"
#include "process/spawn_protocol.h"
#include "shm/pool_push.h"
#include "shm/ring.h"
#include "shm/task_body.h"
#include "target.h"

namespace echelon::fuzz {
namespace {

// --- errors
// ---------------------------------------------------------------------------------------

ErrorInfo sample_error() {
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  info.cause = Cause::kSignal;
  info.signal = 9;
  info.message = "its process was killed";
  info.path = "pod0/host1";
  info.traceback = "in f\n";
  info.others.push_back(info);
  return info;
}

void run_error(Bytes input) {
  const auto decoded = decode_error(input);
  if (!decoded.ok()) return;
  const auto again = decode_error(encode_error(*decoded));
  ECHELON_CHECK(again.ok() && again->path == decoded->path && again->code == decoded->code);
}

std::vector<Seed> seeds_of_error() {
  return {encode_error(ErrorInfo{}), encode_error(sample_error())};
}

// --- tasks
// ----------------------------------------------------------------------------------------

void run_task_body(Bytes input) {
  TaskBody body;
  if (!decode_task_body(input, body).ok()) return;
  std::vector<std::byte> again(task_body_bytes(body.tensors, body.scalars, &body.config));
  encode_task_body(body.tensors, body.scalars, &body.config, again);
  TaskBody same;
  ECHELON_CHECK(decode_task_body(again, same).ok(), again.size());
  ECHELON_CHECK(same.tensors.size() == body.tensors.size());
}

std::vector<Seed> seeds_of_task_body() {
  const std::array<std::int64_t, 2> shape = {3, 5};
  const TaggedTensor tensor{
      make_contiguous(Uid{7}, BufferId{9}, Uid{8}, DType::kFloat32, shape, Access::kReadWrite),
      Tag::kInout};
  const ScalarValue scalar{DType::kInt32, 41};
  CallConfig config;
  config.grid = {2, 3, 4};
  config.values["key"] = "value";
  std::vector<Seed> seeds;
  for (const CallConfig* with : {static_cast<const CallConfig*>(nullptr), &std::as_const(config)}) {
    Seed& seed = seeds.emplace_back(task_body_bytes({&tensor, 1}, {&scalar, 1}, with));
    encode_task_body({&tensor, 1}, {&scalar, 1}, with, seed);
  }
  return seeds;
}

// --- a ring as its other end may leave it
// ---------------------------------------------------------

constexpr std::size_t kRingBytes = 4096;

struct RingMemoryOwner {
  alignas(64) RingPositionData position{};
  alignas(64) std::array<std::byte, kRingBytes> frames{};
  RingMemory memory() { return {&position, frames}; }
};

void run_ring(Bytes input) {
  if (input.empty()) return;
  RingMemoryOwner owner;
  RingConsumer consumer(owner.memory(), static_cast<RingUse>(std::to_integer<int>(input[0]) % 4));
  input = input.subspan(1);
  std::memcpy(owner.frames.data(), input.data(), std::min(input.size(), kRingBytes));
  RingFrame frame;
  std::byte sum{};
  for (std::size_t i = 0; i < kRingBytes / kFrameAlign; ++i) {
    if (consumer.try_peek(frame) != PeekResult::kFrame) break;
    for (const std::byte byte : frame.body) sum ^= byte;
    consumer.claim_taken();
    consumer.pop();
  }
  ECHELON_CHECK(consumer.consumed_bytes() % kFrameAlign == 0, std::to_integer<int>(sum));
}

std::vector<Seed> seeds_of_ring() {
  std::vector<Seed> seeds;
  for (const RingUse use : {RingUse::kTasks, RingUse::kControlDown}) {
    RingMemoryOwner owner;
    RingProducer producer(owner.memory());
    FrameHeader header;
    header.kind = use == RingUse::kTasks ? FrameKind::kSubTask : FrameKind::kPing;
    header.task = 3;
    header.bytes = 5;
    static_cast<void>(producer.try_push(header, bytes_of("hello")));
    static_cast<void>(producer.try_push(header, bytes_of("again")));
    Seed& seed = seeds.emplace_back(1, static_cast<std::byte>(use));
    seed.insert(seed.end(), owner.frames.begin(), owner.frames.begin() + 256);
  }
  return seeds;
}

// --- control and registration
// ---------------------------------------------------------------------

struct Replies final : ControlReplies, RegistrationHooks {
  void reply(FrameKind, std::uint64_t, std::span<const std::byte> body) override {
    bytes += body.size();
  }
  void on_register(std::uint64_t, const RegisterFrame& frame) override {
    bytes += frame.inline_bytes.size() + doing_text(frame.request).size();
  }
  void on_unregister(std::uint64_t, CallableSlot, std::uint64_t) override { ++bytes; }
  std::size_t bytes = 0;
};

/// u8 kind, u8 flags, then the body.
void run_control(Bytes input) {
  if (input.size() < 2) return;
  Replies replies;
  ControlHooks hooks;
  hooks.cancel = [](TaskId) {};
  hooks.shutdown = [] {};
  hooks.registration = &replies;
  ControlProtocol protocol(hooks);
  FrameHeader header;
  header.kind = static_cast<FrameKind>(std::to_integer<unsigned>(input[0]));
  header.flags = std::to_integer<std::uint16_t>(input[1]);
  header.task = 5;
  header.slot = 6;
  const Bytes body = input.subspan(2);
  header.bytes = static_cast<std::uint32_t>(body.size());
  static_cast<void>(protocol.handle(header, body, replies));
}

RegisterRequest sample_request() {
  RegisterRequest request;
  request.slot = CallableSlot{6};
  request.serial = 9;
  request.owner = 3;
  request.route = {1, 2};
  request.name = "square";
  request.payload = Payload::make(bytes_of("square")).value();
  request.digest = sha256(std::string_view("square"));
  return request;
}

Seed control_seed(FrameKind kind, Bytes body) {
  Seed seed(2 + body.size());
  seed[0] = static_cast<std::byte>(kind);
  std::copy(body.begin(), body.end(), seed.begin() + 2);
  return seed;
}

std::vector<Seed> seeds_of_control() {
  return {control_seed(FrameKind::kRegister, encode_register(sample_request(), 0)),
          control_seed(FrameKind::kRegister, encode_register(sample_request(), 4)),
          control_seed(FrameKind::kUnregister, encode_unregister(9)),
          control_seed(FrameKind::kPing, {}), control_seed(FrameKind::kCancel, {})};
}

void run_answer(Bytes input) {
  const auto answer = decode_answer(input);
  if (answer.ok()) ECHELON_CHECK(decode_answer(encode_answer(*answer, 1 << 16)).ok());
}

std::vector<Seed> seeds_of_answer() {
  SubtreeAnswer answer;
  answer.add({AnswerOutcome::kRefused, 17, "pod0/host1", "no such name", "in f\n"});
  answer.add({AnswerOutcome::kReady, 18, "pod0/host1/sub0", ""});
  return {encode_answer(answer, 4096), encode_answer({}, 4096)};
}

// --- spawner, pushes, statistics
// ------------------------------------------------------------------

void run_spawner(Bytes input) {
  const auto down = decode_down(input);
  if (down.ok()) ECHELON_CHECK(encode(*down).ok());
  const auto up = decode_up(input);
  if (up.ok()) ECHELON_CHECK(encode(*up).ok());
}

std::vector<Seed> seeds_of_spawner() {
  SpawnRequest spawn;
  spawn.spec.path = "pod0/sub0";
  spawn.spec.name = "sub0";
  spawn.spec.arguments = {"--driver", "cpu"};
  ExitedReport exited;
  exited.exit.stderr_tail = "last words";
  FailedReport failed{ChildIndex{1}, Status(sample_error())};
  std::vector<Seed> seeds;
  for (const DownMessage& down :
       {DownMessage(spawn), DownMessage(KillRequest{}), DownMessage(ShutdownRequest{5})}) {
    seeds.push_back(encode(down).value());
  }
  for (const UpMessage& up :
       {UpMessage(SpawnedReport{ChildIndex{1}, 7}), UpMessage(exited), UpMessage(failed),
        UpMessage(OutputReport{ChildIndex{1}, OutputStream::kStdout, "hello\n"})}) {
    seeds.push_back(encode(up).value());
  }
  return seeds;
}

void run_push(Bytes input) {
  const auto push = decode_push(input);
  if (!push.ok()) return;
  std::array<std::byte, kPoolPushBytes> again{};
  encode_push(*push, again);
  ECHELON_CHECK(decode_push(again).ok());
}

std::vector<Seed> seeds_of_push() {
  Seed seed(kPoolPushBytes);
  encode_push({PushKind::kPoolSegment, Uid{7}, 3, 4096}, seed);
  return {seed};
}

void run_node(Bytes input) {
  const auto node = decode_node(input);
  if (!node.ok()) return;
  ECHELON_CHECK(!describe_tree(*node).empty());
  ECHELON_CHECK(decode_node(encode_node(*node)).ok());
}

std::vector<Seed> seeds_of_node() {
  NodeInfo sub;
  sub.path = "pod0/sub0";
  sub.name = "sub0";
  NodeInfo pod;
  pod.path = pod.name = "pod0";
  pod.children = {sub, sub};
  return {encode_node(pod)};
}

constexpr std::array kTargets = {
    Target{"error", "an error, of a completion, a goodbye, last words", run_error, seeds_of_error},
    Target{"task_body", "what a task is given: tensors, scalars, config", run_task_body,
           seeds_of_task_body},
    Target{"ring", "a ring of shared memory, all four uses", run_ring, seeds_of_ring},
    Target{"control", "the control ring down: ping, cancel, register", run_control,
           seeds_of_control},
    Target{"answer", "how a registration went, from below", run_answer, seeds_of_answer},
    Target{"spawner", "a spawner's socket, both ways", run_spawner, seeds_of_spawner},
    Target{"push", "what comes with a descriptor", run_push, seeds_of_push},
    Target{"node", "a subtree's statistics", run_node, seeds_of_node},
};

}  // namespace

std::span<const Target> codec_targets() {
  return kTargets;
}

}  // namespace echelon::fuzz
