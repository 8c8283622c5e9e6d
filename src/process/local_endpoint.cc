// SPDX-License-Identifier: Apache-2.0
#include "process/local_endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error_codec.h"
#include "process/local_endpoint_state.h"
#include "process/task_run.h"

namespace echelon {
namespace {

Status bad_frame(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame, std::move(what));
}

}  // namespace

LocalEndpoint::LocalEndpoint(LocalEndpointOptions options, ChannelParent channel,
                             std::unique_ptr<TreeEdge> edge, ChildProcess& process, Env& env) {
  ECHELON_CHECK(options.window >= 1 && options.window <= kWindowMax, options.window);
  state_ = std::make_unique<State>(std::move(options), std::move(channel), std::move(edge), process,
                                   env);
}

LocalEndpoint::~LocalEndpoint() = default;

// --- down
// -----------------------------------------------------------------------------------------

DispatchResult LocalEndpoint::try_dispatch(const Dispatch& task) {
  State& state = *state_;
  if (state.down.load(std::memory_order_relaxed) ||
      (state.news.load(std::memory_order_relaxed) & State::kEndAsked) != 0) {
    return DispatchResult::kDown;
  }
  if (state.window_count == state.options.window) return DispatchResult::kNoRoom;
  if (const Status pushed = state.edge->ensure_pushed(task.body); !pushed.ok()) {
    if (pushed.reason() == Reason::kExhausted) return state.wait_for_edge();
    static_cast<void>(state.fail_here(task.task, pushed));
    return DispatchResult::kSent;
  }
  FrameHeader header;
  header.kind = frame_kind(task.kind);
  header.task = task.task.value;
  header.slot = task.slot.value;
  header.deadline = task.deadline_ns;
  if (task.body.size() <= kTaskBodyMax) return state.push(task, header, task.body);
  const auto spill = state.spill(task);
  if (!spill.ok()) {
    if (spill.status().code() == Code::kResourceExhausted) return state.wait_for_edge();
    static_cast<void>(state.fail_here(task.task, spill.status()));
    return DispatchResult::kSent;
  }
  header.flags = kFlagSpill;
  return state.push(task, header, std::as_bytes(std::span(&spill.value(), 1)));
}

DispatchResult LocalEndpoint::State::push(const Dispatch& task, FrameHeader header,
                                          std::span<const std::byte> body) {
  const bool carries_push = edge->push_flag();
  if (carries_push) header.flags = static_cast<std::uint16_t>(header.flags | kFlagPush);
  FramePlace place;
  switch (channel.tasks.try_push(header, body, {}, place)) {
    case PushResult::kNoRoom:
      return DispatchResult::kNoRoom;
    case PushResult::kBroken:
      end(bad_frame("its position in the task ring is impossible"));
      return DispatchResult::kDown;
    case PushResult::kPushed:
      break;
  }
  window[window_count++] = InFlight{task.task, place, carries_push, false};
  in_flight.store(window_count, std::memory_order_relaxed);
  edge->set_push_flag(false);
  spilled.reset();
  drain_notice_sent = false;
  ++counters.dispatched;
  if (channel.executor.ring()) ++counters.wakeups;
  return DispatchResult::kSent;
}

// A body that was sent beside the ring for a frame that found no room is not sent again.
Result<SpillData> LocalEndpoint::State::spill(const Dispatch& task) {
  if (spilled.has_value() && spilled->first == task.task) return spilled->second;
  ECHELON_ASSIGN_OR_RETURN(const SpillData data, edge->send_spill(task.body, {}, /*wait=*/false));
  ++counters.spills;
  spilled.emplace(task.task, data);
  return data;
}

// The edge's socket is full of descriptors that the child reads only when a frame says so. Such a
// frame: it rings back when there is room.
DispatchResult LocalEndpoint::State::wait_for_edge() {
  if (!drain_notice_sent) {
    FrameHeader header;
    header.kind = FrameKind::kReleaseBuffer;
    header.flags = kFlagPush;
    if (channel.tasks.try_push(header) == PushResult::kPushed) {
      drain_notice_sent = true;
      channel.executor.ring();
    }
  }
  // One notice for each time the socket was full, lest a lost race leaves nobody to ring.
  if (channel.tasks.drained()) drain_notice_sent = false;
  return DispatchResult::kNoRoom;
}

Status LocalEndpoint::State::fail_here(TaskId task, Status why) {
  failed_here.emplace_back(task, located(why));
  return why;
}

DispatchResult LocalEndpoint::try_release_buffer(BufferId buffer) {
  State& state = *state_;
  if (state.down.load(std::memory_order_relaxed)) return DispatchResult::kDown;
  FrameHeader header;
  header.kind = FrameKind::kReleaseBuffer;
  header.task = buffer.value;
  switch (state.channel.tasks.try_push(header)) {
    case PushResult::kPushed:
      state.channel.executor.ring();
      return DispatchResult::kSent;
    case PushResult::kNoRoom:
      return DispatchResult::kNoRoom;
    case PushResult::kBroken:
      break;
  }
  state.end(bad_frame("its position in the task ring is impossible"));
  return DispatchResult::kDown;
}

bool LocalEndpoint::try_recall(TaskId task) {
  State& state = *state_;
  State::InFlight* entry = state.find(task);
  if (entry == nullptr || state.down.load(std::memory_order_relaxed)) return false;
  if (!state.channel.tasks.try_recall(entry->place)) return false;
  ++state.counters.recalled;
  state.forget(*entry);
  return true;
}

Progress LocalEndpoint::progress(TaskId task) const {
  const State::InFlight* entry = state_->find(task);
  if (entry == nullptr) return Progress::kTaken;
  if (state_->down.load(std::memory_order_relaxed)) {
    return entry->taken ? Progress::kTaken : Progress::kQueued;
  }
  return state_->channel.tasks.claim_of(entry->place) == Claim::kQueued ? Progress::kQueued
                                                                        : Progress::kTaken;
}

LocalEndpoint::State::InFlight* LocalEndpoint::State::find(TaskId task) {
  const auto end = window.begin() + window_count;
  const auto it = std::find_if(window.begin(), end,
                               [task](const InFlight& entry) { return entry.task == task; });
  return it == end ? nullptr : &*it;
}

const LocalEndpoint::State::InFlight* LocalEndpoint::State::find(TaskId task) const {
  return const_cast<State*>(this)->find(task);
}

// Keeps the order: the oldest, which completes first, is found first.
void LocalEndpoint::State::forget(InFlight& entry) {
  std::move(&entry + 1, window.data() + window_count, &entry);
  --window_count;
  in_flight.store(window_count, std::memory_order_relaxed);
}

// --- up
// -------------------------------------------------------------------------------------------

bool LocalEndpoint::has_news() const {
  const State& state = *state_;
  if (!state.failed_here.empty()) return true;
  const std::uint32_t known = state.news.load(std::memory_order_relaxed);
  if (state.down.load(std::memory_order_relaxed)) {
    return !state.gone.load(std::memory_order_relaxed) && State::may_go(known);
  }
  return known != 0 || state.channel.completions.pending();
}

std::size_t LocalEndpoint::poll(EndpointEvents& events) {
  State& state = *state_;
  std::size_t count = 0;
  // Read before the ring is drained: what the dead child published is then in it.
  // pairs with the release in note()
  std::uint32_t known = state.news.load(std::memory_order_acquire);
  if (!state.down.load(std::memory_order_relaxed)) count += state.drain(events);
  while (!state.failed_here.empty()) {
    const auto [task, why] = std::move(state.failed_here.back());
    state.failed_here.pop_back();
    events.on_completion(state.options.index, Completion{task, why, {}});
    ++count;
  }
  // What draining it has found.
  known |= state.news.load(std::memory_order_relaxed) & State::kEndAsked;
  if (known != 0) count += state.report_news(known, events);
  return count;
}

std::size_t LocalEndpoint::State::drain(EndpointEvents& events) {
  std::size_t count = 0;
  // Twice a window: a child that completes as fast as it is given work does not keep others
  // waiting.
  while (count < 2 * kWindowMax) {
    RingFrame frame;
    const PeekResult found = channel.completions.try_peek(frame);
    if (found == PeekResult::kEmpty) break;
    if (found == PeekResult::kBad) {
      end(channel.completions.error());
      break;
    }
    if (!complete(frame, events)) break;
    ++count;
  }
  return count;
}

bool LocalEndpoint::State::complete(const RingFrame& frame, EndpointEvents& events) {
  const FrameHeader& header = frame.header;
  InFlight* entry = find(TaskId{header.task});
  if (entry == nullptr) {
    end(bad_frame(fmt::format("a completion of task {:#x}, which it does not have", header.task)));
    return false;
  }
  Completion completion;
  completion.task = entry->task;
  completion.result = frame.body;
  Mapping spill;
  Status bad;
  if ((header.flags & kFlagSpill) != 0) {
    auto taken = edge->take_spill(frame.body);
    if (taken.ok()) {
      spill = std::move(taken).value();
      completion.result = spill.bytes();
    } else {
      bad = taken.status();
    }
  }
  if (bad.ok() && (header.flags & kFlagError) != 0) {
    completion.status = error_of(completion.result, bad);
    completion.result = {};
  }
  if (!bad.ok()) {
    end(bad_frame("a completion that cannot be read: " + bad.info().message));
    return false;
  }
  ++counters.completed;
  forget(*entry);
  events.on_completion(options.index, completion);
  channel.completions.pop();
  return true;
}

Status LocalEndpoint::State::error_of(std::span<const std::byte> bytes, Status& bad) const {
  auto info = decode_error(bytes);
  if (!info.ok()) {
    bad = info.status();
    return Status();
  }
  if (info->code == Code::kOk) info->code = Code::kUnknown;
  return located(Status(std::move(info).value()));
}

bool LocalEndpoint::State::may_go(std::uint32_t known) {
  if ((known & (kExited | kSpawnFailed)) != 0) return true;
  return (known & kSpawnerLost) != 0 && (known & kOwnerDied) != 0;
}

std::size_t LocalEndpoint::State::report_news(std::uint32_t known, EndpointEvents& events) {
  std::size_t count = 0;
  if (!down.load(std::memory_order_relaxed)) {
    go_down(why_down(known), known, events);
    ++count;
  }
  if (!gone.load(std::memory_order_relaxed) && may_go(known)) {
    gone.store(true, std::memory_order_relaxed);
    events.on_gone(options.index);
    ++count;
  }
  return count;
}

void LocalEndpoint::State::go_down(const Status& why, std::uint32_t known, EndpointEvents& events) {
  // A child that is being killed may still run: what it has not begun by now it never will.
  for (std::uint32_t i = 0; i < window_count; ++i) {
    window[i].taken = !channel.tasks.try_recall(window[i].place);
  }
  down.store(true, std::memory_order_relaxed);
  if ((known & (kExited | kSpawnFailed)) == 0) process.kill(options.index);
  events.on_down(options.index, why);
  window_count = 0;
  in_flight.store(0, std::memory_order_relaxed);
}

void LocalEndpoint::terminate(const Status& why) {
  if (!state_->down.load(std::memory_order_relaxed)) state_->end(why);
}

}  // namespace echelon
