// SPDX-License-Identifier: Apache-2.0
#include "engine/access_map.h"

namespace echelon {

// --- the table of entries -----------------------------------------------------------------------
std::uint64_t AccessMap::hash_of(std::uint64_t issuer, std::uint64_t buffer) {
  std::uint64_t h = issuer ^ (buffer * 0x9E3779B97F4A7C15ull);
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  return h ^ (h >> 32);
}

std::uint32_t AccessMap::find(std::uint64_t issuer, std::uint64_t buffer) const {
  if (slots_.empty()) return kNoIndex;
  const std::size_t mask = slots_.size() - 1;
  const auto hash = static_cast<std::uint32_t>(hash_of(issuer, buffer));
  for (std::size_t at = hash & mask; slots_[at].entry != kNoIndex; at = (at + 1) & mask) {
    if (slots_[at].hash != hash) continue;
    const Entry& entry = entries_[slots_[at].entry];
    if (entry.issuer == issuer && entry.buffer == buffer) return slots_[at].entry;
  }
  return kNoIndex;
}

void AccessMap::insert_slot(std::uint32_t hash, std::uint32_t entry) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].entry != kNoIndex) at = (at + 1) & mask;
  slots_[at] = {hash, entry};
}

void AccessMap::grow_slots() {
  std::vector<Slot> old(slots_.empty() ? 1024 : slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.entry != kNoIndex) insert_slot(slot.hash, slot.entry);
}

std::uint32_t AccessMap::find_or_add(std::uint64_t issuer, std::uint64_t buffer) {
  const std::uint32_t found = find(issuer, buffer);
  if (found != kNoIndex) return found;
  if ((std::size_t{entries_.live()} + 1) * 4 > slots_.size() * 3) grow_slots();
  const std::uint32_t index = entries_.allocate();
  entries_[index] = Entry{kNoIndex, kNoIndex, kNoIndex, issuer, buffer};
  insert_slot(static_cast<std::uint32_t>(hash_of(issuer, buffer)), index);
  return index;
}

void AccessMap::erase_entry(std::uint32_t entry) {
  const std::size_t mask = slots_.size() - 1;
  const auto hash =
      static_cast<std::uint32_t>(hash_of(entries_[entry].issuer, entries_[entry].buffer));
  std::size_t hole = hash & mask;
  while (slots_[hole].entry != entry) hole = (hole + 1) & mask;
  // Move up what would not be found any more across the hole.
  for (std::size_t at = (hole + 1) & mask; slots_[at].entry != kNoIndex; at = (at + 1) & mask) {
    const std::size_t home = slots_[at].hash & mask;
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = Slot{};
  entries_.free(entry);
}

// --- records ------------------------------------------------------------------------------------
AccessMap::Place AccessMap::locate(const TensorDesc& desc, Tag tag) {
  Place place;
  if (tag == Tag::kNoDep) return place;
  place.shape = shape_of(desc);
  if (!place.shape.empty()) place.entry = find_or_add(desc.issuer.value, desc.buffer.value);
  return place;
}

void AccessMap::abandon(const Place& place) {
  if (place.entry == kNoIndex) return;
  const Entry& entry = entries_[place.entry];
  if (entry.writers == kNoIndex && entry.readers == kNoIndex &&
      find(entry.issuer, entry.buffer) == place.entry)
    erase_entry(place.entry);
}

void AccessMap::leave(std::uint32_t index) {
  AccessRecord& record = records_[index];
  if (record.entry == kNoIndex) return;
  Entry& entry = entries_[record.entry];
  if (record.prev != kNoIndex)
    records_[record.prev].next = record.next;
  else
    (writes(record.tag) ? entry.writers : entry.readers) = record.next;
  if (record.next != kNoIndex) records_[record.next].prev = record.prev;
  if (record.view != kNoIndex) views_.free(record.view);
  if (entry.writers == kNoIndex && entry.readers == kNoIndex) erase_entry(record.entry);
  record.view = kNoIndex;
  record.entry = kNoIndex;
}

void AccessMap::free(std::uint32_t index) {
  leave(index);
  records_.free(index);
}

void AccessMap::cut(std::uint32_t index, const AccessShape& by) {
  AccessRecord& record = records_[index];
  if (shape_covers(by, shape(record))) {
    leave(index);
    return;
  }
  if (by.view != nullptr || record.view != kNoIndex) return;
  if (by.begin <= record.begin) {
    record.begin = by.end;
  } else if (by.end >= record.end) {
    record.end = by.begin;
  } else if (const std::uint32_t rest = records_.allocate(); rest != kNoIndex) {
    // The middle is taken over. Where no record is left the old one stays whole: it orders more
    // than it must, never less.
    AccessRecord& upper = records_[rest];
    upper = record;
    upper.begin = by.end;
    upper.pin = 0;
    record.end = by.begin;
    record.next_of_task = rest;
    upper.prev = index;
    if (record.next != kNoIndex) records_[record.next].prev = rest;
    record.next = rest;
  }
}

std::size_t AccessMap::memory_bytes() const {
  return records_.memory_bytes() + entries_.memory_bytes() + views_.memory_bytes() +
         slots_.capacity() * sizeof(Slot);
}

}  // namespace echelon
