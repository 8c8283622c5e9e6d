// SPDX-License-Identifier: Apache-2.0
//
// RemoteEndpoint on the dispatch path: the driver's side.
#include "remote/remote_endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error_codec.h"
#include "process/task_run.h"
#include "remote/remote_endpoint_state.h"

namespace echelon {
namespace {

void drop_exceptions(ErrorInfo& info) {
  info.exception.clear();
  for (ErrorInfo& other : info.others) drop_exceptions(other);
}

/// A batch goes when it holds so much, though more waits.
constexpr std::size_t kBatchBytes = 256 * 1024;
/// What a place in the window keeps of its memory from task to task.
constexpr std::size_t kKeptBodyBytes = 16 * 1024;

}  // namespace

RemoteEndpoint::RemoteEndpoint(RemoteEndpointOptions options, Env& env) {
  ECHELON_CHECK(options.window >= 1 && options.window <= kRemoteWindowMax, options.window);
  ECHELON_CHECK(options.sent_max >= 1 && options.sent_max <= options.window, options.sent_max);
  state_ = std::make_unique<State>(std::move(options), env);
}

RemoteEndpoint::~RemoteEndpoint() {
  // They notify what is still there.
  state_->task_lane.reset();
  state_->data.destroy_lane();
  state_->health_lane.reset();
}

// --- the window
// -----------------------------------------------------------------------------------

RemoteEndpoint::State::Entry* RemoteEndpoint::State::find(TaskId task) {
  for (std::uint32_t i = 0; i < count; ++i) {
    Entry& entry = entries[order[i]];
    if (entry.task == task) return &entry;
  }
  return nullptr;
}

RemoteEndpoint::State::Entry& RemoteEndpoint::State::append(const Dispatch& task) {
  Entry& entry = entries[order[count++]];
  entry.task = task.task;
  entry.kind = frame_kind(task.kind);
  entry.slot = task.slot.value;
  entry.deadline_ns = task.deadline_ns;
  entry.where = Where::kHere;
  entry.sent_bytes = 0;
  dispatched.fetch_add(1, std::memory_order_relaxed);
  return entry;
}

// Keeps the order; the place becomes the first free one.
void RemoteEndpoint::State::forget(const Entry& entry) {
  if (entry.where == Where::kSent || entry.where == Where::kSending) --sent;
  const auto begin = order.begin();
  const auto end = begin + count;
  const auto at = std::find(begin, end, static_cast<std::uint8_t>(&entry - entries.data()));
  std::rotate(at, at + 1, end);
  --count;
}

// --- down
// -----------------------------------------------------------------------------------------

DispatchResult RemoteEndpoint::try_dispatch(const Dispatch& task) {
  State& state = *state_;
  if (state.down.load(std::memory_order_relaxed) ||
      (state.news.load(std::memory_order_relaxed) & State::kEndAsked) != 0) {
    return DispatchResult::kDown;
  }
  if (!state.is_up() || state.count == state.options.window) return DispatchResult::kNoRoom;
  if (task.kind == TaskKind::kCopy && state.is_transfer(task)) {
    if (!state.start_transfer(task)) return DispatchResult::kSent;  // failed here
  } else if (task.body.size() > kLaneBodyBytesMax) {
    state.fail_here(task.task,
                    Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                                  fmt::format("arguments of {} bytes; {} are the most. Pass large "
                                              "data as a tensor, by handle",
                                              task.body.size(), kLaneBodyBytesMax)));
    return DispatchResult::kSent;
  } else {
    State::Entry& entry = state.append(task);
    entry.body.assign(task.body.begin(), task.body.end());
  }
  // The first goes at once; what follows it before the next poll() goes as one message.
  if (!std::exchange(state.sent_since_poll, true)) state.flush();
  return DispatchResult::kSent;
}

void RemoteEndpoint::State::fail_here(TaskId task, const Status& why) {
  failed_here.emplace_back(task, located(why));
}

/// A copy over the border, which moves here. One between tensors of the session is the session's.
bool RemoteEndpoint::State::is_transfer(const Dispatch& task) {
  if (!decode_task_body(task.body, copy_body).ok() || copy_body.tensors.size() != 2) return false;
  return copy_body.tensors[0].desc.issuer != pool || copy_body.tensors[1].desc.issuer != pool;
}

Result<RemoteCopy> RemoteEndpoint::State::transfer_of(TaskId task) const {
  const TensorDesc& to = copy_body.tensors[0].desc;
  const TensorDesc& from = copy_body.tensors[1].desc;
  RemoteCopy copy;
  copy.task = task;
  copy.to_session = to.issuer == pool;
  if (!copy.to_session && from.issuer != pool) {
    return Status::error(
        Code::kInvalidArgument, Reason::kForeignHandle,
        fmt::format("a copy given to {}, of whose memory neither tensor is", options.path));
  }
  if (to.payload_bytes() != from.payload_bytes() || to.dtype != from.dtype) {
    return Status::error(Code::kInvalidArgument, Reason::kWrongType,
                         "a copy between different tensors");
  }
  copy.remote = copy.to_session ? to : from;
  copy.local = copy.to_session ? from : to;
  const Access here = copy.to_session ? Access::kRead : Access::kWrite;
  const Access there = copy.to_session ? Access::kWrite : Access::kRead;
  if (!allows(copy.remote.access, there)) {
    return Status::error(Code::kPermissionDenied, Reason::kWrongAccess,
                         fmt::format("the handle of {}'s tensor does not allow it", options.path));
  }
  ECHELON_CHECK(options.open_local != nullptr);
  ECHELON_ASSIGN_OR_RETURN(copy.at, options.open_local(copy.local, here));
  return copy;
}

RemoteEndpoint* RemoteEndpoint::State::peer_of_copy() const {
  const TensorDesc& to = copy_body.tensors[0].desc;
  if (!options.peer || to.issuer == pool || copy_body.tensors[1].desc.issuer != pool) {
    return nullptr;
  }
  return options.peer(to.issuer);
}

Status RemoteEndpoint::State::start_direct(const Dispatch& task, const RemoteEndpoint& to) {
  const TensorDesc& into = copy_body.tensors[0].desc;
  const TensorDesc& from = copy_body.tensors[1].desc;
  if (into.payload_bytes() != from.payload_bytes() || into.dtype != from.dtype) {
    return Status::error(Code::kInvalidArgument, Reason::kWrongType,
                         "a copy between different tensors");
  }
  if (task.deadline_ns != 0 && task.deadline_ns <= env.now_ns()) return too_late();
  State& other = *to.state_;
  if (to.down() || !other.is_up()) return to.down_status();
  append(task).where = Where::kCopying;
  peers.start(task.task, from, into, {other.pool, other.options.path, other.address, &other.data});
  return {};
}

/// False: it failed here.
bool RemoteEndpoint::State::start_transfer(const Dispatch& task) {
  if (const RemoteEndpoint* const to = peer_of_copy(); to != nullptr) {
    const Status begun = start_direct(task, *to);
    if (!begun.ok()) fail_here(task.task, begun);
    return begun.ok();
  }
  auto copy = transfer_of(task.task);
  const bool late = task.deadline_ns != 0 && task.deadline_ns <= env.now_ns();
  if (!copy.ok() || late) {
    fail_here(task.task, copy.ok() ? too_late() : copy.status());
    return false;
  }
  copy->deadline_ns = task.deadline_ns;
  append(task).where = Where::kCopying;
  data.start_copy(*copy);
  return true;
}

/// What is left of a copy that was stopped may still be written to one of its tensors.
bool RemoteEndpoint::State::is_fenced(const Entry& entry) {
  if (entry.where != Where::kHere || !decode_task_body(entry.body, copy_body).ok()) return false;
  return std::any_of(copy_body.tensors.begin(), copy_body.tensors.end(), [this](const auto& one) {
    return one.desc.issuer == pool && data.is_fenced(one.desc.buffer);
  });
}

void RemoteEndpoint::State::flush() {
  while (sent < options.sent_max && flush_batch()) {}
  if (data.busy() && data.pump() && data.busy()) data_poked.store(true, std::memory_order_relaxed);
}

/// Sends what may be sent as one message. True if there may be more to send.
bool RemoteEndpoint::State::flush_batch() {
  constexpr std::size_t kFramesMax = 32;
  std::array<LaneFrameHead, kFramesMax> heads;
  std::array<std::span<const std::byte>, 3 * kFramesMax> segments;
  std::array<Entry*, kFramesMax> batch{};
  std::size_t frames = 0;
  std::size_t bytes = 0;
  const MonotonicNs now = env.now_ns();
  for (std::uint32_t i = 0; i < count && frames < kFramesMax; ++i) {
    Entry& entry = entries[order[i]];
    if (entry.where != Where::kHere && entry.where != Where::kSending) continue;
    if (data.has_fences() && is_fenced(entry)) continue;
    if (sent + frames >= options.sent_max && entry.where == Where::kHere) break;
    if (entry.body.size() > kBatchBytes) {
      if (frames != 0) break;
      return send_pieces(entry) == LaneSend::kSent;
    }
    if (bytes + entry.body.size() > kBatchBytes) break;
    LaneFrame frame;
    frame.kind = entry.kind;
    frame.task = entry.task.value;
    frame.slot = entry.slot;
    frame.remaining_ns = remaining_of(entry.deadline_ns, now);
    frame.body = entry.body;
    heads[frames] = encode_head(frame);
    segments[3 * frames] = heads[frames];
    segments[3 * frames + 1] = entry.body;
    segments[3 * frames + 2] = padding_of(entry.body.size());
    bytes += entry.body.size();
    batch[frames++] = &entry;
  }
  if (frames == 0) return false;
  if (task_lane->try_send(std::span(segments).first(3 * frames)) != LaneSend::kSent) return false;
  batches.fetch_add(1, std::memory_order_relaxed);
  for (std::size_t i = 0; i < frames; ++i) mark_sent(*batch[i]);
  return true;
}

void RemoteEndpoint::State::mark_sent(Entry& entry) {
  if (entry.where == Where::kHere) ++sent;
  entry.where = Where::kSent;
  if (entry.body.capacity() > kKeptBodyBytes) entry.body = {};
}

/// A body that goes in pieces: nothing goes in between.
LaneSend RemoteEndpoint::State::send_pieces(Entry& entry) {
  const std::span<const std::byte> body = entry.body;
  while (entry.sent_bytes < body.size()) {
    LaneFrame frame;
    frame.kind = entry.kind;
    frame.task = entry.task.value;
    frame.slot = entry.slot;
    frame.remaining_ns = remaining_of(entry.deadline_ns, env.now_ns());
    frame.body =
        body.subspan(entry.sent_bytes, std::min(kPieceBytes, body.size() - entry.sent_bytes));
    if (entry.sent_bytes + frame.body.size() < body.size()) frame.flags = kFlagMore;
    if (const LaneSend done = send_frame(*task_lane, frame); done != LaneSend::kSent) return done;
    if (entry.where == Where::kHere) ++sent;
    entry.where = Where::kSending;
    entry.sent_bytes += frame.body.size();
    batches.fetch_add(1, std::memory_order_relaxed);
  }
  mark_sent(entry);
  return LaneSend::kSent;
}

DispatchResult RemoteEndpoint::try_release_buffer(BufferId buffer) {
  if (state_->down.load(std::memory_order_relaxed)) return DispatchResult::kDown;
  return state_->data.release(buffer);
}

bool RemoteEndpoint::try_recall(TaskId task) {
  State& state = *state_;
  State::Entry* const entry = state.find(task);
  if (entry == nullptr || state.down.load(std::memory_order_relaxed)) return false;
  if (entry->where != State::Where::kHere &&
      !(entry->where == State::Where::kCopying &&
        (state.data.try_recall(task) || state.peers.try_recall(task)))) {
    return false;
  }
  state.forget(*entry);
  state.recalled.fetch_add(1, std::memory_order_relaxed);
  return true;
}

Progress RemoteEndpoint::progress(TaskId task) const {
  const State::Entry* const entry = state_->find(task);
  return entry != nullptr && entry->where == State::Where::kHere ? Progress::kQueued
                                                                 : Progress::kTaken;
}

// --- up
// -------------------------------------------------------------------------------------------

bool RemoteEndpoint::has_news() const {
  const State& state = *state_;
  if (!state.failed_here.empty() || state.peers.has_ended()) return true;
  if (state.down.load(std::memory_order_relaxed)) return false;
  // pairs with the seq_cst store in lane_options(): a sleeper sees it, or is rung
  if (state.poked.load(std::memory_order_seq_cst)) return true;
  if (state.data_poked.load(std::memory_order_relaxed)) return true;
  const std::uint32_t known = state.news.load(std::memory_order_relaxed);
  if (known != 0 && state.may_go_down(known)) return true;
  return state.is_up() &&
         (state.task_lane->has_news() || state.data.has_noted() || state.data.has_come());
}

/// It holds no task, and nothing has come of it: most of many sessions, most of the time. The
/// transport looks at its lanes meanwhile.
bool RemoteEndpoint::State::quiet() const {
  return count == 0 && failed_here.empty() && !poked.load(std::memory_order_relaxed) &&
         news.load(std::memory_order_relaxed) == 0 && !data_poked.load(std::memory_order_relaxed) &&
         !data.busy() && !data.has_noted();
}

std::size_t RemoteEndpoint::poll(EndpointEvents& events) {
  State& state = *state_;
  if (state.quiet()) return 0;
  std::size_t reported = 0;
  // pairs with lane_options(): what is poked for from here on is news again
  state.poked.store(false, std::memory_order_seq_cst);
  if (!state.down.load(std::memory_order_relaxed)) {
    if (state.is_up()) reported += state.poll_lanes(events);
    // pairs with the release in note()
    const std::uint32_t known = state.news.load(std::memory_order_acquire);
    if (known != 0 && state.may_go_down(known)) {
      reported += state.report_ends(events);
      state.go_down(events);
      return reported + 2;
    }
  }
  return reported + state.report_ends(events);
}

std::size_t RemoteEndpoint::State::poll_lanes(EndpointEvents& events) {
  TaskEvents task_events(*this, events);
  sent_since_poll = true;  // what completions lead to goes as one message
  task_lane->poll(task_events);
  // The lane is looked at where it has called, and asked for more only then: asking is what a
  // thread does that is about to sleep.
  if (data_poked.exchange(false, std::memory_order_relaxed) || data.busy() || data.has_noted()) {
    if (data.pump() && (data.busy() || data.has_come())) {
      data_poked.store(true, std::memory_order_relaxed);
    }
    if (const Status status = data.failed(); status.reason() == Reason::kBadFrame) {
      end(status);
    } else if (!status.ok()) {
      const std::lock_guard lock(mutex);
      lose_locked(broken("data", status));
    }
  }
  flush();
  sent_since_poll = false;
  // An event, so that whoever waits for it looks.
  return task_events.count + (data.note_allocations() ? 1 : 0);
}

/// Of copies, and of what failed here.
std::size_t RemoteEndpoint::State::report_ends(EndpointEvents& events) {
  std::size_t reported = 0;
  if (data.end_orders() && options.wake) options.wake();  // what others wait for may be among them
  data.take_ended(copies_ended);
  peers.take_ended(copies_ended);
  for (const auto& [task, status] : copies_ended) {
    Entry* const entry = find(task);
    ECHELON_CHECK(entry != nullptr, task.value);
    complete_entry(*entry, Completion{task, status.ok() ? status : located(status), {}}, events);
    ++reported;
  }
  copies_ended.clear();
  while (!failed_here.empty()) {
    const auto [task, why] = std::move(failed_here.back());
    failed_here.pop_back();
    events.on_completion(options.index, Completion{task, why, {}});
    ++reported;
  }
  return reported;
}

void RemoteEndpoint::State::TaskEvents::on_message(std::span<const std::byte> message) {
  if ((state.news.load(std::memory_order_relaxed) & kEndAsked) != 0) return;
  LaneFrameReader reader(message);
  LaneFrame frame;
  while (reader.next(frame)) {
    auto whole = state.assembly.add(frame);
    Status status = whole.status();
    if (whole.ok() && *whole) {
      status = state.complete(frame, events);
      state.assembly.clear();
      ++count;
    }
    if (!status.ok()) return state.end(status);
  }
  if (!reader.status().ok()) state.end(reader.status());
}

void RemoteEndpoint::State::TaskEvents::on_down(const Status& why) {
  const std::lock_guard lock(state.mutex);
  state.note(kTaskLaneDown);
  state.lose_locked(broken("task", why));
}

Status RemoteEndpoint::State::complete(LaneFrame& frame, EndpointEvents& events) {
  if (frame.kind != FrameKind::kCompletion) {
    return bad_message(fmt::format("kind {} from a session", static_cast<unsigned>(frame.kind)));
  }
  Entry* const entry = find(TaskId{frame.task});
  if (entry == nullptr || entry->where != Where::kSent) {
    return bad_message(
        fmt::format("a completion of task {:#x}, which it does not have", frame.task));
  }
  Completion completion;
  completion.task = entry->task;
  completion.result = frame.body;
  if ((frame.flags & kFlagError) != 0) {
    Status bad;
    completion.status = error_in(frame.body, bad);
    if (!bad.ok()) {
      return bad_message("a completion that cannot be read: " + bad.info().message);
    }
    ErrorInfo info = completion.status.info();
    if (!options.trust_results) drop_exceptions(info);
    completion.status = located(Status(std::move(info)));
    completion.result = {};
  }
  complete_entry(*entry, completion, events);
  return {};
}

void RemoteEndpoint::State::complete_entry(Entry& entry, Completion completion,
                                           EndpointEvents& events) {
  completed.fetch_add(1, std::memory_order_relaxed);
  if (!completion.status.ok()) failed.fetch_add(1, std::memory_order_relaxed);
  forget(entry);
  events.on_completion(options.index, completion);
}

// --- the end
// --------------------------------------------------------------------------------------

/// What is on its way is waited for: its daemon's word, and what its task lane still holds.
bool RemoteEndpoint::State::may_go_down(std::uint32_t known) const {
  if ((known & (kEndAsked | kWaitedEnough)) != 0) return true;
  if ((known & kLosing) == 0) return false;
  if ((known & kEnded) != 0 && ((known & kTaskLaneDown) != 0 || !is_up())) return true;
  const auto patience = static_cast<MonotonicNs>(options.last_words_wait.count());
  return env.now_ns() >= losing_since_ns.load(std::memory_order_relaxed) + patience;
}

void RemoteEndpoint::State::go_down(EndpointEvents& events) {
  Status why;
  Lane* lane = nullptr;
  {
    const std::lock_guard lock(mutex);  // attach() may be under way
    lane = task_lane.get();
    why = down_why = why_down_locked();
    if (health_lane != nullptr) {
      const auto words = encode_error(why.info(), kPieceBytes);
      LaneFrame frame;
      frame.kind = FrameKind::kGoodbye;
      frame.body = words;
      static_cast<void>(send_frame(*health_lane, frame));
      health_lane->close(why);
    }
    down.store(true, std::memory_order_relaxed);
  }
  // From here on nothing is written to tensors of this host.
  data.close(why);
  peers.close();
  data.end_orders();
  if (lane != nullptr) lane->close(why);
  if (options.end_session) options.end_session(why);
  events.on_down(options.index, why);
  count = sent = 0;
  gone.store(true, std::memory_order_relaxed);
  events.on_gone(options.index);
}

void RemoteEndpoint::terminate(const Status& why) {
  if (!state_->down.load(std::memory_order_relaxed)) state_->end(why);
}

}  // namespace echelon
