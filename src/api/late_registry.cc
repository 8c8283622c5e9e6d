// SPDX-License-Identifier: Apache-2.0
#include "api/late_registry.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "api/late_table.h"
#include "api/wait_announced.h"

namespace echelon::detail {

const LateRegistry::Entry* LateRegistry::find(const CallableRef& ref) const {
  const auto at = entries_.find(ref.serial);
  if (at == entries_.end()) return nullptr;
  const Entry& entry = at->second;
  const bool same = entry.ref.owner == ref.owner && entry.ref.number == ref.number;
  return same ? &entry : nullptr;
}

LateRegistry::Entry* LateRegistry::find(const CallableRef& ref) {
  return const_cast<Entry*>(std::as_const(*this).find(ref));
}

Status LateRegistry::check_name(const Wanted& wanted) const {
  if (!wanted.name_given) return {};
  const auto named = by_name_.find({wanted.owner, wanted.kind, wanted.name});
  if (named == by_name_.end() || entries_.at(named->second).what.identity == wanted.identity) {
    return {};
  }
  return Status::error(
      Code::kAlreadyExists, Reason::kBadArgument,
      fmt::format("register_{}: \"{}\" is registered here already, with other content; unregister "
                  "that first, or choose another name",
                  to_string(wanted.kind), wanted.name));
}

Result<CallableSlot> LateRegistry::take_slot() {
  if (free_slots_.empty()) {
    if (slots_made_ == LateTable::kSlotsMax) {
      return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                           fmt::format("{} callables are registered, which is the most; "
                                       "unregister some",
                                       slots_made_));
    }
    return CallableSlot{kFirstLateSlot + slots_made_++};
  }
  const std::uint32_t slot = *free_slots_.begin();
  free_slots_.erase(free_slots_.begin());
  return CallableSlot{slot};
}

Result<LateRegistry::Claim> LateRegistry::claim(const Wanted& wanted,
                                                const std::function<void()>& check_wait) {
  std::unique_lock lock(mutex_);
  const Key identity{wanted.owner, wanted.kind, wanted.identity};
  for (;;) {
    const auto same = by_identity_.find(identity);
    if (same == by_identity_.end()) break;
    Entry& entry = entries_.at(same->second);
    if (entry.stage == Stage::kRegistered) {
      ++entry.count;
      return Claim{entry.ref, true};
    }
    if (!check_wait) {
      settled_.wait(lock);
    } else if (settled_.wait_for(lock, std::chrono::nanoseconds(kWaitSliceNs)) ==
               std::cv_status::timeout) {
      lock.unlock();
      check_wait();
      lock.lock();
    }
  }
  ECHELON_RETURN_IF_ERROR(check_name(wanted));
  ECHELON_ASSIGN_OR_RETURN(const CallableSlot slot, take_slot());
  const std::uint64_t serial = next_serial_++;
  Entry& entry = entries_[serial];
  entry.what = wanted;
  entry.ref = CallableRef{wanted.owner, slot.value, serial};
  entry.count = 1;
  by_identity_[identity] = serial;
  if (wanted.name_given) by_name_[{wanted.owner, wanted.kind, wanted.name}] = serial;
  return Claim{entry.ref, false};
}

void LateRegistry::settle(const CallableRef& ref, bool ok, std::vector<std::string> silent,
                          MonotonicNs now) {
  {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(ref);
    if (entry == nullptr) return;
    entry->silent = std::move(silent);
    if (ok) {
      entry->stage = Stage::kRegistered;
    } else {
      leave(*entry, now);
    }
  }
  settled_.notify_all();
}

void LateRegistry::leave(Entry& entry, MonotonicNs now) {
  entry.stage = Stage::kLeaving;
  entry.count = 0;
  entry.leaving_since_ns = now;
  const Wanted& what = entry.what;
  by_identity_.erase({what.owner, what.kind, what.identity});
  if (what.name_given) by_name_.erase({what.owner, what.kind, what.name});
}

Result<LateRegistry::Dropped> LateRegistry::drop(const CallableRef& ref, MonotonicNs now) {
  const std::lock_guard lock(mutex_);
  Entry* entry = find(ref);
  if (entry == nullptr || entry->stage != Stage::kRegistered) {
    return Status::error(Code::kNotFound, Reason::kStaleHandle,
                         "unregister: the handle was unregistered already");
  }
  Dropped dropped{--entry->count == 0, entry->what.kind};
  if (dropped.last) leave(*entry, now);
  return dropped;
}

bool LateRegistry::holds(const CallableRef& ref) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find(ref);
  return entry != nullptr && entry->stage == Stage::kRegistered;
}

void LateRegistry::forget(const CallableRef& ref) {
  const std::lock_guard lock(mutex_);
  if (find(ref) == nullptr) return;
  entries_.erase(ref.serial);
  free_slots_.insert(ref.number);
}

void LateRegistry::clear() {
  {
    const std::lock_guard lock(mutex_);
    entries_.clear();
    by_identity_.clear();
    by_name_.clear();
    free_slots_.clear();
    slots_made_ = 0;
  }
  settled_.notify_all();
}

std::vector<LateRegistry::Doubt> LateRegistry::doubts(MonotonicNs now) const {
  const std::lock_guard lock(mutex_);
  std::vector<Doubt> doubts;
  for (const auto& [serial, entry] : entries_) {
    if (entry.stage != Stage::kLeaving) continue;
    if (entry.silent.empty() && now - entry.leaving_since_ns < kDoubtAfterNs) continue;
    doubts.push_back({entry.ref, entry.what.name, entry.silent});
  }
  return doubts;
}

}  // namespace echelon::detail
