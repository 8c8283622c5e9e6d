// SPDX-License-Identifier: Apache-2.0
//
// LocalEndpoint: callables on their way to a child that runs, and its answers.
#include <utility>

#include "process/local_endpoint.h"
#include "process/local_endpoint_state.h"

namespace echelon {

DispatchResult LocalEndpoint::State::send_registration(const FrameHeader& header,
                                                       std::span<const std::byte> body,
                                                       WakeBatch* wakes) {
  // A Worker's keeper sleeps on several words at once.
  if (options.kind == ChildKind::kWorker) wakes = nullptr;
  const std::lock_guard lock(mutex);
  if (down.load(std::memory_order_relaxed) || !end_why.ok()) return DispatchResult::kDown;
  switch (push_control_locked(header, body, wakes)) {
    case PushResult::kPushed:
      return DispatchResult::kSent;
    case PushResult::kNoRoom:
      return DispatchResult::kNoRoom;
    case PushResult::kBroken:
      break;
  }
  return DispatchResult::kDown;
}

DispatchResult LocalEndpoint::request_register(std::uint64_t token, const RegisterRequest& request,
                                               WakeBatch* wakes) {
  State& state = *state_;
  const int file = request.payload->fd();
  FrameHeader header;
  header.kind = FrameKind::kRegister;
  header.task = token;
  header.slot = request.slot.value;
  header.deadline = request.deadline_ns;
  if (file >= 0) {
    PoolPush push;
    push.kind = PushKind::kPayload;
    push.index = request.serial;
    push.bytes = request.payload->bytes().size();
    if (state.down.load(std::memory_order_relaxed)) return DispatchResult::kDown;
    // Not again where only the frame found no room.
    const bool again = state.pushed_payload.load(std::memory_order_relaxed) == request.serial;
    const Status pushed =
        again ? Status() : send_push(state.edge->fd(), push, file, /*wait=*/false);
    if (pushed.code() == Code::kResourceExhausted) return DispatchResult::kNoRoom;
    if (!pushed.ok()) return DispatchResult::kDown;
    state.pushed_payload.store(request.serial, std::memory_order_relaxed);
  }
  return state.send_registration(header, encode_register(request, file >= 0 ? request.serial : 0),
                                 wakes);
}

DispatchResult LocalEndpoint::request_unregister(std::uint64_t token, CallableSlot slot,
                                                 std::uint64_t serial, WakeBatch* wakes) {
  FrameHeader header;
  header.kind = FrameKind::kUnregister;
  header.task = token;
  header.slot = slot.value;
  return state_->send_registration(header, encode_unregister(serial), wakes);
}

void LocalEndpoint::State::take_registration_locked(const RingFrame& frame) {
  auto answer = decode_answer(frame.body);
  if (!answer.ok()) return end_locked(answer.status());
  registration_replies.push_back({frame.header.task,
                                  frame.header.kind == FrameKind::kUnregisterReply,
                                  std::move(answer).value()});
  registration_answered.store(true, std::memory_order_relaxed);
}

void LocalEndpoint::read_answers() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->down.load(std::memory_order_relaxed)) state_->read_control_locked();
}

std::vector<LocalEndpoint::RegistrationReply> LocalEndpoint::take_registration_replies() {
  // Whoever read them from the ring is this thread, or has woken it.
  if (!state_->registration_answered.load(std::memory_order_relaxed)) return {};
  const std::lock_guard lock(state_->mutex);
  state_->registration_answered.store(false, std::memory_order_relaxed);
  return std::exchange(state_->registration_replies, {});
}

}  // namespace echelon
