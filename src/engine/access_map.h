// SPDX-License-Identifier: Apache-2.0
//
// AccessMap: for each buffer, named by (issuer, id), who reads and who writes which part of it now.
// From it come the edges: read after write, write after read, write after write (ENG-1).
//
// A task that writes all of some bytes (OUTPUT, INOUT) takes them over: what older accesses say of
// these bytes is dropped, because whoever comes later and touches them waits for the newer writer,
// and that one for the older. Plain ranges are cut exactly; a strided view is dropped when all of
// it is covered and kept as a whole otherwise. OUTPUT_EXISTING leaves old bytes, so it takes over
// what was read, not what was written.
//
// Nothing is iterated by hash: the table only finds an entry; order is that of its lists, newest
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/access_shape.h"
#include "engine/pool.h"

namespace echelon {

constexpr bool reads(Tag tag) {
  return tag == Tag::kInput || tag == Tag::kInout;
}
constexpr bool writes(Tag tag) {
  return tag == Tag::kOutput || tag == Tag::kInout || tag == Tag::kOutputExisting;
}
/// Leaves no old byte unread or unwritten: OUTPUT and INOUT.
constexpr bool takes_over(Tag tag) {
  return tag == Tag::kOutput || tag == Tag::kInout;
}

/// One tensor of one task, in a cache line of its own.
struct alignas(64) AccessRecord {
  std::uint32_t next = kNoIndex;  // in its entry's list of writers or readers; the free list
  std::uint32_t prev = kNoIndex;
  std::uint32_t entry = kNoIndex;  // kNoIndex: orders nothing (any more)
  std::uint32_t task = kNoIndex;
  std::uint32_t next_of_task = kNoIndex;
  std::uint32_t view = kNoIndex;  // in the table of geometries
  Tag tag = Tag::kNoDep;
  bool in_group = false;  // others of its group may write the same bytes, unordered
  bool shadowed = false;  // a newer writer waits for it and covers it: only its data matter
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t pin = 0;
};

class AccessMap {
 public:
  explicit AccessMap(std::uint32_t accesses_max)
      : records_(accesses_max), entries_(accesses_max), views_(accesses_max) {}

  AccessRecord& operator[](std::uint32_t index) { return records_[index]; }
  const AccessRecord& operator[](std::uint32_t index) const { return records_[index]; }
  std::uint32_t room() const { return records_.room(); }
  std::uint32_t max() const { return records_.max(); }

  /// Where a tensor stands: its buffer's entry and the bytes. Made by locate(), before
  /// for_each_before() and add(), so that the table is searched once.
  struct Place {
    std::uint32_t entry = kNoIndex;  // kNoIndex: takes no part in ordering
    AccessShape shape;
  };
  Place locate(const TensorDesc& desc, Tag tag);
  /// After locate() without add().
  void abandon(const Place& place);

  /// Calls f(record, data) for each access that one of `tag` at `place` must follow; `data`: and
  /// whose bytes it needs. f returns false to stop.
  template <class F>
  void for_each_before(const Place& place, Tag tag, F&& f) const;

  /// Makes the record of a task's access, in front of the task's list `first_of_task`. One that
  /// takes part in ordering is entered; `may_cut(record)` says whether an older one may be cut or
  /// dropped. REQUIRES: room() != 0
  template <class F>
  void add(const Place& place, const AccessRecord& given, std::uint32_t& first_of_task,
           F&& may_cut);

  /// Will be looked at soon.
  void prefetch(std::uint32_t index) const {
    if (index != kNoIndex) __builtin_prefetch(&records_[index]);
  }

  /// Takes the record out of its entry: it orders nothing any more.
  void leave(std::uint32_t index);
  /// leave(), and gives the record back. The task's list is the caller's.
  void free(std::uint32_t index);

  std::uint32_t entry_count() const { return entries_.live(); }
  std::size_t memory_bytes() const;

 private:
  struct Entry {
    std::uint32_t next = kNoIndex;  // the free list's
    std::uint32_t writers = kNoIndex;
    std::uint32_t readers = kNoIndex;
    std::uint64_t issuer = 0;
    std::uint64_t buffer = 0;
  };
  struct View {
    std::uint32_t next = kNoIndex;  // the free list's
    TensorDesc desc;
  };
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t entry = kNoIndex;
  };

  static std::uint64_t hash_of(std::uint64_t issuer, std::uint64_t buffer);
  std::uint32_t find(std::uint64_t issuer, std::uint64_t buffer) const;
  std::uint32_t find_or_add(std::uint64_t issuer, std::uint64_t buffer);
  void insert_slot(std::uint32_t hash, std::uint32_t entry);
  void grow_slots();
  void erase_entry(std::uint32_t entry);

  AccessShape shape(const AccessRecord& record) const {
    return {record.begin, record.end,
            record.view == kNoIndex ? nullptr : &views_[record.view].desc};
  }
  void enter(std::uint32_t index) {
    AccessRecord& record = records_[index];
    Entry& entry = entries_[record.entry];
    std::uint32_t& head = writes(record.tag) ? entry.writers : entry.readers;
    record.prev = kNoIndex;
    record.next = head;
    if (head != kNoIndex) records_[head].prev = index;
    head = index;
  }
  template <class F>
  void take_over(std::uint32_t newer, std::uint32_t list, F&& may_cut);
  void cut(std::uint32_t index, const AccessShape& by);

  ChunkPool<AccessRecord> records_;
  ChunkPool<Entry> entries_;
  ChunkPool<View> views_;
  std::vector<Slot> slots_;  // a power of two, at most three quarters used
};

template <class F>
void AccessMap::for_each_before(const Place& place, Tag tag, F&& f) const {
  const AccessShape& by = place.shape;
  const std::uint32_t entry = place.entry;
  if (entry == kNoIndex) return;
  for (std::uint32_t i = entries_[entry].writers; i != kNoIndex; i = records_[i].next) {
    const AccessRecord& record = records_[i];
    if (record.shadowed && !reads(tag)) continue;
    const AccessShape other = shape(record);
    if (!shapes_overlap(other, by)) continue;
    if (!f(record, reads(tag))) return;
    // All of these bytes are this writer's alone, and it waits for those before it.
    if (record.tag == Tag::kOutput && !record.in_group && shape_covers(other, by)) break;
  }
  if (!writes(tag)) return;
  for (std::uint32_t i = entries_[entry].readers; i != kNoIndex; i = records_[i].next)
    if (shapes_overlap(shape(records_[i]), by) && !f(records_[i], false)) return;
}

template <class F>
void AccessMap::take_over(std::uint32_t newer, std::uint32_t list, F&& may_cut) {
  const AccessShape by = shape(records_[newer]);
  const bool whole = takes_over(records_[newer].tag);
  for (std::uint32_t i = list; i != kNoIndex;) {
    AccessRecord& older = records_[i];
    const std::uint32_t next = older.next;
    const AccessShape other = shape(older);
    if (shapes_overlap(other, by) && may_cut(older)) {
      if (whole || !writes(older.tag))
        cut(i, by);
      else if (shape_covers(by, other))
        older.shadowed = true;
    }
    i = next;
  }
}

template <class F>
void AccessMap::add(const Place& place, const AccessRecord& given, std::uint32_t& first_of_task,
                    F&& may_cut) {
  const std::uint32_t index = records_.allocate();
  AccessRecord& record = records_[index];
  record = given;
  record.next_of_task = first_of_task;
  first_of_task = index;
  record.begin = place.shape.begin;
  record.end = place.shape.end;
  if (place.entry == kNoIndex) return;
  record.entry = place.entry;
  if (place.shape.view != nullptr) {
    record.view = views_.allocate();
    views_[record.view].desc = *place.shape.view;
  }
  enter(index);  // first, so that its entry stays when the others leave it
  if (!writes(record.tag)) return;
  if (record.next != kNoIndex) take_over(index, record.next, may_cut);
  const std::uint32_t readers = entries_[place.entry].readers;
  if (readers != kNoIndex) take_over(index, readers, may_cut);
}

}  // namespace echelon
