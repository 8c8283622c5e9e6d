// SPDX-License-Identifier: Apache-2.0
#include "api/registrar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "api/shipped_callable.h"
#include "api/wait_announced.h"
#include "process/leaf_registration.h"

namespace echelon::detail {
namespace {

/// Between two tries to send what found no room.
constexpr MonotonicNs kTryAgainNs = 1'000'000;
/// Children on the caller's own processor work while it yields: that is what it waits for.
constexpr SpinLimits kLookLimits{.yield_ns = 500'000, .long_yield_ns = 400'000};
/// What a Worker keeps of the time it was given, so that its own answer arrives in time.
constexpr MonotonicNs kMarginNs = 200'000'000;

std::chrono::steady_clock::time_point time_point(MonotonicNs ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
}

MonotonicNs deadline_below(MonotonicNs deadline, MonotonicNs now) {
  if (deadline == 0 || deadline <= now) return deadline;
  return deadline - std::min(kMarginNs, (deadline - now) / 8);
}

SubtreeAnswer refusal(std::string path, std::string message) {
  SubtreeAnswer answer;
  answer.add({AnswerOutcome::kRefused, ::getpid(), std::move(path), std::move(message)});
  return answer;
}

/// Of a language that is not here.
Callable refused(const RegisterRequest& request) {
  Callable callable = describe_callable(request);
  refuse_calls(callable, native_refusal(request.name, callable.kind));
  return callable;
}

}  // namespace

// --- life
// ------------------------------------------------------------------------------------------

Registrar::Registrar(LateTable& table, Env& env)
    : table_(table), env_(env), spin_(env, kLookLimits) {}

void Registrar::open(Options options) {
  const std::lock_guard lock(mutex_);
  options_ = std::move(options);
  std::vector<ChildKind> kinds;
  for (const TreeChild* child : options_.children) kinds.push_back(child->kind());
  outgoing_.resize(kinds.size());
  ChildAnswer self{AnswerOutcome::kReady, ::getpid(), options_.path, ""};
  RegistrationOutputs& outputs = *this;
  protocol_ = std::make_unique<RegistrationProtocol>(std::move(kinds), std::move(self), outputs);
  closed_ = false;
}

void Registrar::close() {
  std::unique_lock lock(mutex_);
  if (std::exchange(closed_, true)) return;
  for (const auto& [asker, waiter] : waiters_) {
    waiter->answer = refusal(options_.path, fmt::format("{} was closed", options_.path));
    waiter->done = true;
  }
  waiters_.clear();
  answered_.notify_all();
}

void Registrar::connect(RegistrationUplink* uplink) {
  const std::lock_guard lock(mutex_);
  uplink_ = uplink;
}

// --- the root
// --------------------------------------------------------------------------------------

SubtreeAnswer Registrar::register_here(const RegisterRequest& request) {
  std::unique_lock lock(mutex_);
  if (closed_) return refusal(options_.path, fmt::format("{} was closed", options_.path));
  Waiter waiter;
  const std::uint64_t asker = next_asker_++;
  waiters_[asker] = &waiter;
  const bool looks = !caller_looks_;
  if (looks) set_looking(true, keeper_looks_);
  protocol_->on_register(asker, request);
  settle();
  if (looks) look_for(waiter, lock);
  MonotonicNs asked_ns = env_.now_ns();
  while (!waiter.done) {
    MonotonicNs until = std::min(request.deadline_ns, asked_ns + kWaitSliceNs);
    if (waiting_for_room()) until = std::min(until, env_.now_ns() + kTryAgainNs);
    answered_.wait_until(lock, time_point(until));
    if (closed_) break;
    take_replies();
    const MonotonicNs now = env_.now_ns();
    protocol_->on_time(now);
    flush();
    settle();
    if (waiter.done || now < asked_ns + kWaitSliceNs) continue;
    asked_ns = now;
    check_wait(lock, asker);
  }
  waiters_.erase(asker);
  tell_confirmed(lock);
  return std::move(waiter.answer);
}

void Registrar::check_wait(std::unique_lock<std::mutex>& lock, std::uint64_t asker) {
  if (options_.language == nullptr || !options_.language->check_wait) return;
  lock.unlock();
  try {
    options_.language->check_wait();
  } catch (...) {
    lock.lock();
    waiters_.erase(asker);
    throw;
  }
  lock.lock();
}

/// As long as a wake-up costs, and some more: mostly all have answered then.
void Registrar::look_for(const Waiter& waiter, std::unique_lock<std::mutex>& lock) {
  spin_.restart();
  for (SpinStep step = SpinStep::kSpin; step != SpinStep::kSleep && !waiter.done && !closed_;) {
    take_replies();
    settle();
    if (waiter.done) break;
    lock.unlock();
    step = spin_.step();
    lock.lock();
  }
  if (closed_) return;
  // Nor may the keeper's next look be waited for: from here on an answer wakes it.
  set_looking(false, waiter.done && keeper_looks_);
  take_replies();
  settle();
}

void Registrar::set_looking(bool caller, bool keeper) {
  caller_looks_ = caller;
  keeper_looks_ = keeper;
  options_.doorbell->set_looking(caller || keeper);
}

void Registrar::unregister_here(CallableSlot slot, std::uint64_t serial,
                                std::function<void()> gone) {
  std::unique_lock lock(mutex_);
  if (closed_) return;
  const std::uint64_t asker = next_asker_++;
  leaving_[asker] = std::move(gone);
  protocol_->on_unregister(asker, slot, serial);
  settle();
  if (waiting_for_room()) options_.doorbell->wake_keeper();
  tell_confirmed(lock);
}

std::vector<std::string> Registrar::unconfirmed(std::uint64_t serial) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> paths;
  if (closed_) return paths;
  for (const ChildIndex child : protocol_->unconfirmed(serial)) {
    paths.push_back(options_.children[child.value]->path());
  }
  return paths;
}

void Registrar::tell_confirmed(std::unique_lock<std::mutex>& lock) {
  while (!confirmed_.empty()) {
    const std::vector<std::function<void()>> told = std::exchange(confirmed_, {});
    lock.unlock();
    for (const auto& gone : told) gone();
    lock.lock();
  }
}

// --- from above
// ------------------------------------------------------------------------------------

void Registrar::on_register(std::uint64_t token, const RegisterFrame& frame) {
  const std::lock_guard lock(mutex_);
  // This Worker ends, and a parent on another host has not heard of it yet.
  if (uplink_ == nullptr) return;
  auto request = with_payload(frame, *uplink_);
  if (!request.ok()) {
    return answer_up(FrameKind::kRegisterReply, token,
                     refusal(options_.path, request.status().info().message));
  }
  request->deadline_ns = deadline_below(request->deadline_ns, env_.now_ns());
  request->foreign = options_.language == nullptr && needs_language(request->form);
  protocol_->on_register(token, *request);
  settle();
}

void Registrar::on_unregister(std::uint64_t token, CallableSlot slot, std::uint64_t serial) {
  const std::lock_guard lock(mutex_);
  protocol_->on_unregister(token, slot, serial);
  settle();
}

void Registrar::answer_up(FrameKind kind, std::uint64_t token, const SubtreeAnswer& answer) {
  upward_.push_back({kind, token, encode_answer(answer, frame_body_max(kRingBytes))});
  flush();
}

// --- the keeper
// ------------------------------------------------------------------------------------

MonotonicNs Registrar::attend(MonotonicNs now) {
  std::unique_lock lock(mutex_);
  if (closed_) return 0;
  // The first of several children has answered: the others need not wake it, too.
  const bool looks = take_replies() != 0 && protocol_->awaits_confirmations_alone();
  if (looks != keeper_looks_) {
    set_looking(caller_looks_, looks);
    if (!looks) take_replies();
  }
  {
    const std::lock_guard noted(noted_mutex_);
    drained_.insert(drained_.end(), noted_drained_.begin(), noted_drained_.end());
    noted_drained_.clear();
  }
  protocol_->on_time(now);
  flush();
  settle();
  MonotonicNs next = protocol_->next_deadline_ns();
  if ((waiting_for_room() || keeper_looks_) && (next == 0 || next > now + kTryAgainNs))
    next = now + kTryAgainNs;
  tell_confirmed(lock);
  return next;
}

/// How many.
std::size_t Registrar::take_replies() {
  std::size_t taken = 0;
  for (std::uint32_t i = 0; i < options_.children.size(); ++i) {
    TreeChild& child = *options_.children[i];
    const ChildIndex index{i};
    child.read_answers();
    for (auto& reply : child.take_registration_replies()) {
      ++taken;
      if (protocol_->on_answer(index, reply.token, std::move(reply.answer))) continue;
      child.terminate(Status::error(Code::kDataLoss, Reason::kBadFrame,
                                    "an answer to a registration that it was not asked for"));
    }
    if (!protocol_->live(index) || !child.ending()) continue;
    outgoing_[i].clear();
    protocol_->on_child_down(index, child.down_status().info().message);
  }
  return taken;
}

void Registrar::note_drained(std::uint64_t serial) {
  {
    const std::lock_guard lock(noted_mutex_);
    noted_drained_.push_back(serial);
  }
  options_.doorbell->wake_keeper();
}

void Registrar::settle() {
  while (!prepared_.empty() || !drained_.empty()) {
    for (const auto& [serial, status] : std::exchange(prepared_, {})) {
      protocol_->on_prepared(serial, status);
    }
    for (const std::uint64_t serial : std::exchange(drained_, {})) protocol_->on_drained(serial);
  }
  wakes_.wake();
}

bool Registrar::waiting_for_room() const {
  return !upward_.empty() || std::any_of(outgoing_.begin(), outgoing_.end(),
                                         [](const auto& waiting) { return !waiting.empty(); });
}

void Registrar::flush() {
  for (std::uint32_t i = 0; i < outgoing_.size(); ++i) {
    auto& waiting = outgoing_[i];
    while (!waiting.empty() && try_send(ChildIndex{i}, waiting.front())) waiting.pop_front();
  }
  wakes_.wake();
  while (!upward_.empty() && uplink_ != nullptr &&
         uplink_->answer(upward_.front().kind, upward_.front().token, upward_.front().body)) {
    upward_.pop_front();
  }
}

// --- what the protocol has done
// --------------------------------------------------------------------

void Registrar::send_register(ChildIndex child, std::uint64_t token,
                              const RegisterRequest& request) {
  const auto copy = std::make_shared<const RegisterRequest>(request);
  send(child, {token, request.slot, request.serial, copy});
}

void Registrar::send_unregister(ChildIndex child, std::uint64_t token, CallableSlot slot,
                                std::uint64_t serial) {
  send(child, {token, slot, serial, nullptr});
}

void Registrar::send(ChildIndex child, Outgoing outgoing) {
  auto& waiting = outgoing_[child.value];
  if (!waiting.empty() || !try_send(child, outgoing)) waiting.push_back(std::move(outgoing));
}

/// False: the child has to read first. To one that is down nothing is sent, as it will be told.
bool Registrar::try_send(ChildIndex child, const Outgoing& outgoing) {
  TreeChild& to = *options_.children[child.value];
  const DispatchResult sent =
      outgoing.request != nullptr
          ? to.request_register(outgoing.token, *outgoing.request, &wakes_)
          : to.request_unregister(outgoing.token, outgoing.slot, outgoing.serial, &wakes_);
  return sent != DispatchResult::kNoRoom;
}

void Registrar::prepare(const RegisterRequest& request) {
  wakes_.wake();
  const bool library = request.kind == RegisteredKind::kLibrary;
  if (request.foreign) {
    return static_cast<void>(prepared_.emplace_back(
        request.serial,
        table_.insert(request.slot, request.serial, request.owner, refused(request))));
  }
  const bool runs_here = request.below && (library || request.kind == RegisteredKind::kOrch);
  if (runs_here) return prepare_in_thread(request);
  const Status status = library ? Status()
                                : table_.insert(request.slot, request.serial, request.owner,
                                                describe_callable(request));
  prepared_.emplace_back(request.serial, status);
}

void Registrar::prepare_in_thread(const RegisterRequest& request) {
  // The job owns what it uses while it blocks; what follows runs only while this object lives.
  thread_.post([this, request, language = options_.language]() -> RegistrarThread::Finish {
    if (request.kind == RegisteredKind::kLibrary) {
      Status status = check_digest(request);
      std::shared_ptr<const LoadedLibrary> library;
      if (status.ok()) {
        auto opened = LoadedLibrary::open(request.payload, request.name);
        status = opened.status();
        if (opened.ok()) library = std::move(opened).value();
      }
      return [this, serial = request.serial, status, library] {
        const std::lock_guard lock(mutex_);
        if (library != nullptr) libraries_[serial] = library;
        finish_prepare(serial, status);
        return true;
      };
    }
    auto callable = std::make_shared<Result<Callable>>(make_callable(request, language));
    return [this, request, callable] {
      const std::lock_guard lock(mutex_);
      finish_prepare(request.serial,
                     callable->ok() ? table_.insert(request.slot, request.serial, request.owner,
                                                    std::move(*callable).value())
                                    : callable->status());
      return true;
    };
  });
}

void Registrar::finish_prepare(std::uint64_t serial, const Status& status) {
  if (closed_) return;
  prepared_.emplace_back(serial, status);
  settle();
  if (waiting_for_room()) options_.doorbell->wake_keeper();
}

void Registrar::close(CallableSlot slot, std::uint64_t serial) {
  if (table_.close(slot, serial)) drained_.push_back(serial);
}

void Registrar::remove(CallableSlot slot, std::uint64_t serial) {
  auto library = libraries_.extract(serial);
  Callable callable = table_.remove(slot, serial);
  if (library.empty() && !callable.orch) return;
  // Destroying these may block: a language's function waits for its interpreter.
  auto gone = std::make_shared<std::pair<std::shared_ptr<const LoadedLibrary>, Callable>>();
  if (!library.empty()) gone->first = std::move(library.mapped());
  gone->second = std::move(callable);
  thread_.post([gone]() mutable -> RegistrarThread::Finish {
    gone.reset();
    return [] { return true; };
  });
}

void Registrar::answer_register(std::uint64_t asker, const SubtreeAnswer& answer) {
  if (uplink_ != nullptr) return answer_up(FrameKind::kRegisterReply, asker, answer);
  const auto found = waiters_.find(asker);
  if (found == waiters_.end()) return;
  found->second->answer = answer;
  found->second->done = true;
  waiters_.erase(found);
  answered_.notify_all();
}

void Registrar::answer_unregister(std::uint64_t asker, const SubtreeAnswer& answer) {
  if (uplink_ != nullptr) return answer_up(FrameKind::kUnregisterReply, asker, answer);
  auto found = leaving_.extract(asker);
  if (!found.empty()) confirmed_.push_back(std::move(found.mapped()));
}

ChildAnswer Registrar::about(ChildIndex child) {
  const TreeChild& endpoint = *options_.children[child.value];
  ChildAnswer answer;
  answer.path = endpoint.path();
  answer.pid = endpoint.pid();
  answer.message = silence_text(endpoint.phase());
  return answer;
}

}  // namespace echelon::detail
