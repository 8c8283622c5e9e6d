// SPDX-License-Identifier: Apache-2.0
#include "shm/buffer_table.h"

#include <fmt/format.h>

namespace echelon {
namespace {

Status stale(BufferId id) {
  return Status::error(
      Code::kNotFound, Reason::kStaleHandle,
      fmt::format("stale handle: buffer {} (serial {}) was freed, or its loan has ended", id.slot(),
                  id.serial()));
}

/// Reads an entry between two looks at its serial. The loads of the place are acquire, so that the
/// second look comes after them; the writer's stores of it are release, after its serial of 0.
Result<BufferPlace> read_entry(const BufferData* entries, BufferId id) {
  if (id.slot() >= kBuffersMax || id.serial() == 0) return stale(id);
  const BufferData& entry = entries[id.slot()];
  // pairs with the release store of the serial in BufferTable::add: the place is written
  if (entry.serial.load(std::memory_order_acquire) != id.serial()) return stale(id);
  BufferPlace place;
  // pairs with the release stores in BufferTable::add: who sees a later place sees the serial of 0
  place.segment = entry.segment.load(std::memory_order_acquire);
  place.offset = entry.offset.load(std::memory_order_acquire);  // pairs with BufferTable::add
  place.bytes = entry.bytes.load(std::memory_order_acquire);    // pairs with BufferTable::add
  if (entry.serial.load(std::memory_order_relaxed) != id.serial()) return stale(id);
  return place;
}

}  // namespace

Result<BufferTable> BufferTable::create() {
  MapOptions options;
  options.dont_fork = true;
  BufferTable table;
  ECHELON_ASSIGN_OR_RETURN(table.segment_,
                           Segment::create("echelon-buffers", kBufferTableBytes, options));
  ECHELON_RETURN_IF_ERROR(table.segment_.seal_future_writes());
  return table;
}

Result<BufferId> BufferTable::add(const BufferPlace& place) {
  std::uint32_t slot = 0;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    if (serials_.size() == kBuffersMax) {
      return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                           fmt::format("{} buffers are alive, the most of one Worker", live_));
    }
    slot = static_cast<std::uint32_t>(serials_.size());
    serials_.push_back(0);
  }
  const std::uint64_t serial = ++serials_[slot];
  BufferData& entry = entries()[slot];
  // pairs with the acquire loads in read_entry: the serial was 0 before these
  entry.segment.store(place.segment, std::memory_order_release);
  entry.offset.store(place.offset, std::memory_order_release);  // pairs with read_entry
  entry.bytes.store(place.bytes, std::memory_order_release);    // pairs with read_entry
  // pairs with the first acquire load in read_entry: publishes the place
  entry.serial.store(serial, std::memory_order_release);
  ++live_;
  return BufferId::make(slot, serial);
}

Result<BufferPlace> BufferTable::remove(BufferId id) {
  ECHELON_ASSIGN_OR_RETURN(const BufferPlace place, find(id));
  entries()[id.slot()].serial.store(0, std::memory_order_relaxed);
  // a slot whose serials are used up is never given out again
  if (id.serial() < BufferId::kSerialMax) free_.push_back(id.slot());
  --live_;
  return place;
}

Result<BufferPlace> BufferTable::find(BufferId id) const {
  // what is never used is not in serials_; the entry of a slot in it is ours alone to write
  if (id.slot() >= serials_.size()) return stale(id);
  return read_entry(entries(), id);
}

Result<BufferTableView> BufferTableView::open(UniqueFd fd) {
  MapOptions options;
  options.access = MapAccess::kRead;
  options.dont_fork = true;
  BufferTableView view;
  ECHELON_ASSIGN_OR_RETURN(view.segment_, Segment::open(std::move(fd), kBufferTableBytes, options));
  return view;
}

Result<BufferPlace> BufferTableView::find(BufferId id) const {
  return read_entry(reinterpret_cast<const BufferData*>(segment_.data()), id);
}

}  // namespace echelon
