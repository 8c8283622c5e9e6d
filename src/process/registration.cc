// SPDX-License-Identifier: Apache-2.0
#include "process/registration.h"

#include <fmt/format.h>

#include <utility>

namespace echelon {
namespace {

/// Which children make use of it themselves; next-level Workers get all, for what is below them and
/// for their own orchestration functions.
bool concerns(ChildKind child, RegisteredKind what) {
  switch (child) {
    case ChildKind::kWorker:
      return true;
    case ChildKind::kSub:
      return what == RegisteredKind::kSub || what == RegisteredKind::kLibrary;
    case ChildKind::kChip:
      return what == RegisteredKind::kChip;
  }
  return false;
}

/// A Worker below the one it was registered on calls orchestration functions, by name in libraries,
/// too; all else it hands on.
bool runs_here(const RegisterRequest& request) {
  return request.below && !request.foreign &&
         (request.kind == RegisteredKind::kOrch || request.kind == RegisteredKind::kLibrary);
}

}  // namespace

RegistrationProtocol::RegistrationProtocol(std::vector<ChildKind> children, ChildAnswer self,
                                           RegistrationOutputs& outputs)
    : kinds_(std::move(children)),
      live_(kinds_.size(), true),
      self_(std::move(self)),
      outputs_(outputs) {}

ChildAnswer RegistrationProtocol::self(AnswerOutcome outcome, std::string message) const {
  ChildAnswer answer = self_;
  answer.outcome = outcome;
  answer.message = std::move(message);
  return answer;
}

void RegistrationProtocol::refuse(std::uint64_t asker, std::string message) {
  SubtreeAnswer answer;
  answer.add(self(AnswerOutcome::kRefused, std::move(message)));
  outputs_.answer_register(asker, answer);
}

// --- registering
// -----------------------------------------------------------------------------------

bool RegistrationProtocol::routable(const RegisterRequest& request) const {
  if (request.route.empty()) return true;
  const std::uint32_t next = request.route.front();
  return next < kinds_.size() && kinds_[next] == ChildKind::kWorker && live_[next];
}

std::vector<ChildIndex> RegistrationProtocol::targets(const RegisterRequest& request) const {
  if (!request.route.empty()) return {ChildIndex{request.route.front()}};
  if (request.foreign) return {};
  std::vector<ChildIndex> found;
  for (std::uint32_t i = 0; i < kinds_.size(); ++i) {
    if (live_[i] && concerns(kinds_[i], request.kind)) found.push_back(ChildIndex{i});
  }
  return found;
}

void RegistrationProtocol::on_register(std::uint64_t asker, const RegisterRequest& request) {
  if (entries_.contains(request.serial)) {
    return refuse(asker, fmt::format("serial {} is in use here", request.serial));
  }
  if (!routable(request)) {
    return refuse(asker, fmt::format("there is no live Worker at place {} below {}",
                                     request.route.front(), self_.path));
  }
  Entry& entry = entries_[request.serial];
  entry.slot = request.slot;
  entry.serial = request.serial;
  entry.asker = asker;
  entry.deadline_ns = request.deadline_ns;
  entry.here = request.route.empty();
  entry.runs_here = runs_here(request);
  entry.foreign = request.foreign;
  entry.preparing = entry.here;
  entry.doing = doing_text(request);
  preparing_.insert(request.serial);
  RegisterRequest down = request;
  if (entry.here) {
    down.below = true;
  } else {
    down.route.erase(down.route.begin());
  }
  for (const ChildIndex child : targets(request)) {
    const std::uint64_t token = next_token_++;
    sent_[token] = {request.serial, child, false};
    entry.told.insert(child);
    entry.pending.insert(child);
    outputs_.send_register(child, token, down);
  }
  // After the children, who work meanwhile.
  if (entry.here) outputs_.prepare(request);
  settle_register(entry);
}

void RegistrationProtocol::on_prepared(std::uint64_t serial, const Status& status) {
  const auto at = entries_.find(serial);
  if (at == entries_.end() || !std::exchange(at->second.preparing, false)) return;
  Entry& entry = at->second;
  const char* const without = entry.foreign ? "it runs C++ alone (runtime \"native\")" : "";
  ChildAnswer own = status.ok() ? self(AnswerOutcome::kReady, without)
                                : self(AnswerOutcome::kRefused, status.info().message);
  if (!status.ok()) own.traceback = status.info().traceback;
  entry.answer.add(std::move(own));
  if (status.ok() && entry.runs_here) ++entry.answer.runners;
  if (entry.stage == Stage::kPreparing) return settle_register(entry);
  if (entry.stage == Stage::kClosing) leave_if_drained(at);
}

void RegistrationProtocol::settle_register(Entry& entry) {
  if (entry.stage != Stage::kPreparing || entry.preparing || !entry.pending.empty()) return;
  entry.stage = Stage::kReady;
  const SubtreeAnswer answer = std::exchange(entry.answer, {});
  preparing_.erase(entry.serial);
  outputs_.answer_register(entry.asker, answer);
}

void RegistrationProtocol::on_time(MonotonicNs now) {
  std::vector<std::uint64_t> late;
  for (const std::uint64_t serial : preparing_) {
    const MonotonicNs deadline = entries_[serial].deadline_ns;
    if (deadline != 0 && now >= deadline) late.push_back(serial);
  }
  for (const std::uint64_t serial : late) {
    Entry& entry = entries_[serial];
    entry.gave_up = true;
    for (const ChildIndex child : std::exchange(entry.pending, {})) {
      ChildAnswer answer = outputs_.about(child);
      answer.outcome = AnswerOutcome::kSilent;
      entry.answer.add(std::move(answer));
    }
    if (entry.preparing) {
      // It goes on, and its end is awaited before the callable is forgotten.
      entry.answer.add(self(AnswerOutcome::kSilent, silence_text(entry.doing)));
      entry.stage = Stage::kReady;
      preparing_.erase(serial);
      outputs_.answer_register(entry.asker, std::exchange(entry.answer, {}));
    } else {
      settle_register(entry);
    }
  }
}

MonotonicNs RegistrationProtocol::next_deadline_ns() const {
  MonotonicNs next = 0;
  for (const std::uint64_t serial : preparing_) {
    const MonotonicNs deadline = entries_.at(serial).deadline_ns;
    if (deadline != 0 && (next == 0 || deadline < next)) next = deadline;
  }
  return next;
}

// --- unregistering
// ---------------------------------------------------------------------------------

void RegistrationProtocol::on_unregister(std::uint64_t asker, CallableSlot slot,
                                         std::uint64_t serial) {
  const auto at = entries_.find(serial);
  if (at == entries_.end() || at->second.slot != slot) {
    // It was refused here, so nobody below has heard of it.
    SubtreeAnswer answer;
    answer.add(self(AnswerOutcome::kReady, ""));
    return outputs_.answer_unregister(asker, answer);
  }
  Entry& entry = at->second;
  if (entry.stage == Stage::kClosing || entry.stage == Stage::kLeaving) return;
  entry.asker = asker;
  entry.stage = Stage::kClosing;
  entry.gave_up = entry.gave_up || !entry.pending.empty();
  entry.pending.clear();
  preparing_.erase(serial);
  if (entry.here) {
    outputs_.close(slot, serial);
  } else {
    entry.drained = true;
  }
  leave_if_drained(at);
}

void RegistrationProtocol::on_drained(std::uint64_t serial) {
  const auto at = entries_.find(serial);
  if (at == entries_.end() || at->second.stage != Stage::kClosing) return;
  at->second.drained = true;
  leave_if_drained(at);
}

void RegistrationProtocol::leave_if_drained(Entries::iterator at) {
  Entry& entry = at->second;
  if (!entry.drained || entry.preparing) return;
  entry.stage = Stage::kLeaving;
  entry.answer = {};
  if (entry.here) outputs_.remove(entry.slot, at->first);
  for (const ChildIndex child : entry.told) {
    if (!live_[child.value]) continue;
    const std::uint64_t token = next_token_++;
    sent_[token] = {at->first, child, true};
    entry.pending.insert(child);
    outputs_.send_unregister(child, token, entry.slot, at->first);
  }
  settle_leaving(at);
}

void RegistrationProtocol::settle_leaving(Entries::iterator at) {
  Entry& entry = at->second;
  if (!entry.pending.empty()) return;
  const std::uint64_t asker = entry.asker;
  if (entry.gave_up) {
    // What comes in the order of asking has come.
    std::erase_if(sent_, [&](const auto& sent) { return sent.second.serial == entry.serial; });
  }
  entries_.erase(at);
  SubtreeAnswer answer;
  answer.add(self(AnswerOutcome::kReady, ""));
  outputs_.answer_unregister(asker, answer);
}

// --- children
// --------------------------------------------------------------------------------------

bool RegistrationProtocol::on_answer(ChildIndex child, std::uint64_t token, SubtreeAnswer answer) {
  const auto found = sent_.find(token);
  if (found == sent_.end() || found->second.child != child) return false;
  const Sent sent = found->second;
  sent_.erase(found);
  const auto at = entries_.find(sent.serial);
  if (at == entries_.end()) return true;
  Entry& entry = at->second;
  const Stage due = sent.unregister ? Stage::kLeaving : Stage::kPreparing;
  if (entry.stage != due || entry.pending.erase(child) == 0) return true;
  if (sent.unregister) {
    settle_leaving(at);
  } else {
    // Sub-workers and chips get only what they run; they do not count themselves.
    if (kinds_[child.value] != ChildKind::kWorker) answer.runners = answer.ok ? 1 : 0;
    entry.answer.add(std::move(answer));
    settle_register(entry);
  }
  return true;
}

void RegistrationProtocol::on_child_down(ChildIndex child, std::string_view why) {
  if (!live_[child.value]) return;
  live_[child.value] = false;
  std::erase_if(sent_, [&](const auto& sent) { return sent.second.child == child; });
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    Entry& entry = at->second;
    entry.told.erase(child);
    if (entry.pending.erase(child) != 0) {
      if (entry.stage == Stage::kLeaving) {
        settle_leaving(at);
      } else {
        ChildAnswer answer = outputs_.about(child);
        answer.outcome = AnswerOutcome::kDied;
        answer.message = why;
        entry.answer.add(std::move(answer));
        settle_register(entry);
      }
    }
    at = next;
  }
}

std::vector<ChildIndex> RegistrationProtocol::unconfirmed(std::uint64_t serial) const {
  const auto at = entries_.find(serial);
  if (at == entries_.end()) return {};
  return {at->second.pending.begin(), at->second.pending.end()};
}

}  // namespace echelon
