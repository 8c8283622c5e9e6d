// SPDX-License-Identifier: Apache-2.0
//
// LateTable: what one process holds of the callables that were registered in its running tree, by
// slot. Found without a lock by whoever submits or runs a task, and kept while used.
//
// LATE-1  An entry is destroyed only after close(), when nobody uses it; a user checks the serial
//         after it has counted itself, so it either sees that the entry is closed or is waited for.
//
// Threads: use() and release() any; insert(), close() and remove() of one slot one at a time.
// Blocking: never. Ownership: entries live as long as the table, callables until remove().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include <echelon/handles.h>

#include "api/callables.h"
#include "base/ids.h"
#include "base/status.h"

namespace echelon::detail {

class LateTable {
 public:
  /// Callables at once, at most.
  static constexpr std::uint32_t kSlotsMax = 1u << 20;

  LateTable() = default;
  ~LateTable();
  LateTable(const LateTable&) = delete;
  LateTable& operator=(const LateTable&) = delete;

  /// Called once after close() answered false, when the last use ends, on the thread that ends it.
  /// May remove() that slot, and nothing else of the table. Before the first insert().
  void when_drained(std::function<void(CallableSlot, std::uint64_t serial)> hook) {
    drained_ = std::move(hook);
  }

  /// What a handle names, in use until release(). nullptr: it was unregistered, or never here.
  const Callable* use(const CallableRef& ref);
  /// The same by what stands in a task frame, of this kind.
  const Callable* use(CallableSlot slot, TaskKind kind);
  void release(CallableSlot slot);
  /// Each that is there now, in use during the call of `visit`.
  void for_each(const std::function<void(const CallableRef&, const Callable&)>& visit);

  /// Errors: kBadArgument where the slot is taken or beyond the most.
  Status insert(CallableSlot slot, std::uint64_t serial, std::uint64_t owner, Callable callable);
  /// No new uses. True: nobody uses it, and when_drained will not be called.
  bool close(CallableSlot slot, std::uint64_t serial);
  /// What it held, for whoever may wait while that is destroyed: a language's functions take their
  /// interpreter's lock for it. REQUIRES: closed, and drained.
  Callable remove(CallableSlot slot, std::uint64_t serial);

 private:
  struct Entry {
    std::atomic<std::uint64_t> serial{0};   // 0: nothing to be used
    std::atomic<std::uint64_t> closing{0};  // that to tell of, when the last use ends
    std::atomic<std::uint32_t> uses{0};
    std::uint64_t held = 0;  // whose `callable` it is; the registering side's
    std::uint64_t owner = 0;
    Callable callable;
  };
  static constexpr std::uint32_t kChunkSlots = 256;
  using Chunk = std::array<Entry, kChunkSlots>;

  Entry* find(CallableSlot slot) const;
  Entry* make(CallableSlot slot);
  bool take_closing(Entry& entry, std::uint64_t serial);

  std::array<std::atomic<Chunk*>, kSlotsMax / kChunkSlots> chunks_{};
  std::atomic<std::uint32_t> chunk_end_{0};  // behind the last that was made
  std::function<void(CallableSlot, std::uint64_t)> drained_;
};

/// A use of a callable, for a scope.
class LateUse {
 public:
  LateUse(LateTable& table, CallableSlot slot, TaskKind kind)
      : table_(table), slot_(slot), callable_(table.use(slot, kind)) {}
  ~LateUse() {
    if (callable_ != nullptr) table_.release(slot_);
  }
  LateUse(const LateUse&) = delete;
  LateUse& operator=(const LateUse&) = delete;
  const Callable* get() const { return callable_; }

 private:
  LateTable& table_;
  const CallableSlot slot_;
  const Callable* const callable_;
};

}  // namespace echelon::detail
