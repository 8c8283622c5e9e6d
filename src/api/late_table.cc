// SPDX-License-Identifier: Apache-2.0
#include "api/late_table.h"

#include <fmt/format.h>

namespace echelon::detail {

LateTable::~LateTable() {
  for (std::atomic<Chunk*>& chunk : chunks_) {
    const std::unique_ptr<Chunk> owned(chunk.load(std::memory_order_relaxed));
  }
}

LateTable::Entry* LateTable::find(CallableSlot slot) const {
  const std::uint32_t index = slot.value - kFirstLateSlot;
  if (!is_late(slot) || index >= kSlotsMax) return nullptr;
  // pairs with make(): the chunk's entries are there
  Chunk* chunk = chunks_[index / kChunkSlots].load(std::memory_order_acquire);
  return chunk != nullptr ? &(*chunk)[index % kChunkSlots] : nullptr;
}

LateTable::Entry* LateTable::make(CallableSlot slot) {
  if (Entry* entry = find(slot); entry != nullptr) return entry;
  const std::uint32_t index = slot.value - kFirstLateSlot;
  if (!is_late(slot) || index >= kSlotsMax) return nullptr;
  auto chunk = std::make_unique<Chunk>();
  Chunk* expected = nullptr;
  // pairs with find()
  if (chunks_[index / kChunkSlots].compare_exchange_strong(expected, chunk.get(),
                                                           std::memory_order_acq_rel)) {
    static_cast<void>(chunk.release());
    std::uint32_t end = chunk_end_.load(std::memory_order_relaxed);
    const std::uint32_t wanted = index / kChunkSlots + 1;
    // pairs with for_each()
    while (end < wanted &&
           !chunk_end_.compare_exchange_weak(end, wanted, std::memory_order_release)) {}
  }
  return find(slot);
}

const Callable* LateTable::use(const CallableRef& ref) {
  Entry* entry = find(CallableSlot{ref.number});
  if (entry == nullptr || ref.serial == 0) return nullptr;
  // pairs with close()'s store and load, seq_cst like the load below (LATE-1)
  entry->uses.fetch_add(1, std::memory_order_seq_cst);
  // pairs with insert(): the callable is whole
  if (entry->serial.load(std::memory_order_seq_cst) == ref.serial && entry->owner == ref.owner) {
    return &entry->callable;
  }
  release(CallableSlot{ref.number});
  return nullptr;
}

const Callable* LateTable::use(CallableSlot slot, TaskKind kind) {
  Entry* entry = find(slot);
  if (entry == nullptr) return nullptr;
  // pairs with close()'s store and load, seq_cst like the load below (LATE-1)
  entry->uses.fetch_add(1, std::memory_order_seq_cst);
  // pairs with insert(): the callable is whole
  if (entry->serial.load(std::memory_order_seq_cst) != 0 && entry->callable.kind == kind) {
    return &entry->callable;
  }
  release(slot);
  return nullptr;
}

void LateTable::release(CallableSlot slot) {
  Entry& entry = *find(slot);
  // pairs with close(), seq_cst like the loads below: one of the two sees the other (LATE-1)
  if (entry.uses.fetch_sub(1, std::memory_order_seq_cst) != 1) return;
  // pairs with close()
  const std::uint64_t closing = entry.closing.load(std::memory_order_seq_cst);
  if (closing == 0) return;
  // Between the two a slot may have been drained, filled and closed again: what is closing now may
  // have a user, who then tells. Whoever came later finds that it is closed.
  // pairs with use()
  if (entry.uses.load(std::memory_order_seq_cst) != 0) return;
  if (take_closing(entry, closing)) drained_(slot, closing);
}

void LateTable::for_each(const std::function<void(const CallableRef&, const Callable&)>& visit) {
  // pairs with make()
  const std::uint32_t slots = chunk_end_.load(std::memory_order_acquire) * kChunkSlots;
  for (std::uint32_t index = 0; index < slots; ++index) {
    const CallableSlot slot{kFirstLateSlot + index};
    Entry* entry = find(slot);
    if (entry == nullptr || entry->serial.load(std::memory_order_relaxed) == 0) continue;
    // pairs with close()'s store and load, seq_cst like the load below (LATE-1)
    entry->uses.fetch_add(1, std::memory_order_seq_cst);
    // pairs with insert(): the callable is whole
    const std::uint64_t serial = entry->serial.load(std::memory_order_seq_cst);
    if (serial != 0) visit(CallableRef{entry->owner, slot.value, serial}, entry->callable);
    release(slot);
  }
}

bool LateTable::take_closing(Entry& entry, std::uint64_t serial) {
  // pairs with itself: one of close() and release() takes it
  return entry.closing.compare_exchange_strong(serial, 0, std::memory_order_seq_cst);
}

Status LateTable::insert(CallableSlot slot, std::uint64_t serial, std::uint64_t owner,
                         Callable callable) {
  Entry* entry = make(slot);
  if (entry == nullptr || entry->held != 0) {
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("slot {} is {} here", slot.value, entry == nullptr ? "none" : "taken"));
  }
  entry->callable = std::move(callable);
  entry->owner = owner;
  entry->held = serial;
  // pairs with use()
  entry->serial.store(serial, std::memory_order_seq_cst);
  return {};
}

bool LateTable::close(CallableSlot slot, std::uint64_t serial) {
  Entry* entry = find(slot);
  if (entry == nullptr || entry->held != serial) return true;
  // pairs with use(): whoever counts itself later sees it. First, so that nobody who knows of the
  // closing can be overtaken by a new use.
  entry->serial.store(0, std::memory_order_seq_cst);
  // pairs with release()
  entry->closing.store(serial, std::memory_order_seq_cst);
  // pairs with use() and release(): whoever counted itself earlier is seen
  return entry->uses.load(std::memory_order_seq_cst) == 0 && take_closing(*entry, serial);
}

Callable LateTable::remove(CallableSlot slot, std::uint64_t serial) {
  Entry* entry = find(slot);
  if (entry == nullptr || entry->held != serial) return {};
  entry->held = 0;
  return std::exchange(entry->callable, {});
}

}  // namespace echelon::detail
