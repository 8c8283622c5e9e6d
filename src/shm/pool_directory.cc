// SPDX-License-Identifier: Apache-2.0
#include "shm/pool_directory.h"

#include <fmt/format.h>

#include <utility>

namespace echelon {
namespace {

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame,
                       "a pool's descriptor is refused: " + std::move(what));
}

Status foreign(std::string what) {
  return Status::error(Code::kInvalidArgument, Reason::kForeignHandle, std::move(what));
}

/// How others' segments are mapped.
MapOptions borrowed() {
  MapOptions options;
  options.dont_fork = true;
  return options;
}

}  // namespace

Status PoolDirectory::adopt_table(Uid issuer, UniqueFd fd) {
  const std::lock_guard lock(mutex_);
  if (!pools_.contains(issuer) && pools_.size() == kPoolsMax) {
    return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                         fmt::format("{} pools are known here, the most", kPoolsMax));
  }
  Pool& pool = pools_[issuer];
  if (pool.table.has_value()) return {};
  auto view = BufferTableView::open(std::move(fd));
  if (!view.ok()) {
    pools_.erase(issuer);
    return view.status();
  }
  pool.table = std::move(view).value();
  return {};
}

Status PoolDirectory::adopt_segment(Uid issuer, std::uint32_t index, std::uint64_t bytes,
                                    UniqueFd fd) {
  const std::lock_guard lock(mutex_);
  const auto found = pools_.find(issuer);
  if (found == pools_.end()) return bad("a segment came before its pool's table");
  auto& segments = found->second.segments;
  if (index < segments.size()) return {};
  if (index > segments.size() || index >= kPoolSegmentsMax) {
    return bad(fmt::format("segment {} came where {} was due", index, segments.size()));
  }
  if (bytes == 0) return bad("an empty segment");
  ECHELON_ASSIGN_OR_RETURN(Segment segment, Segment::open(std::move(fd), bytes, borrowed()));
  segments.push_back(std::move(segment));
  return {};
}

PoolDirectory::Lookup PoolDirectory::find_locked(const TensorDesc& desc, Access want,
                                                 std::byte*& address, Status& status) const {
  const auto found = pools_.find(desc.issuer);
  if (found == pools_.end()) return Lookup::kUnknownPool;
  const Pool& pool = found->second;
  const auto place = pool.table->find(desc.buffer);
  if (!place.ok()) {
    status = place.status();
    return Lookup::kFound;
  }
  if (place->segment == kSegmentElsewhere) {
    status = foreign("this buffer lies in the memory of a chip; copy it to the host first");
    return Lookup::kFound;
  }
  if (place->segment >= pool.segments.size()) return Lookup::kUnknownSegment;
  const Segment& segment = pool.segments[place->segment];
  if (place->offset > segment.size() || place->bytes > segment.size() - place->offset) {
    status = bad("a buffer that does not lie within its segment");
    return Lookup::kFound;
  }
  status = check_view(desc, want, place->bytes);
  address = segment.data() + place->offset + desc.offset;
  return Lookup::kFound;
}

Result<std::byte*> PoolDirectory::open(const TensorDesc& desc, Access want,
                                       const FetchMore& fetch_more) {
  if (desc.home != desc.issuer) {
    return foreign("this tensor lies in the memory of a chip; copy it to the host first");
  }
  std::byte* address = nullptr;
  Status status;
  Lookup lookup;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      lookup = find_locked(desc, want, address, status);
    }
    if (lookup == Lookup::kFound || !fetch_more || !fetch_more()) break;
  }
  if (lookup == Lookup::kUnknownPool) {
    return foreign(
        fmt::format("a handle of another Worker (uid {:016x}): its memory is not known "
                    "here",
                    desc.issuer.value));
  }
  if (lookup == Lookup::kUnknownSegment) return bad("a buffer in a segment that never came");
  if (!status.ok()) return status;
  return address;
}

Status PoolDirectory::cut_off(const TensorDesc& desc) {
  const std::lock_guard lock(mutex_);
  const auto found = pools_.find(desc.issuer);
  if (found == pools_.end()) return {};
  Pool& pool = found->second;
  const auto place = pool.table->find(desc.buffer);
  // A task's buffers outlive it, so that only memory of a chip lies elsewhere.
  if (!place.ok() || place->segment >= pool.segments.size()) return {};
  return pool.segments[place->segment].move_away(borrowed());
}

std::optional<PoolDescriptors> PoolDirectory::descriptors(Uid issuer) const {
  const std::lock_guard lock(mutex_);
  const auto found = pools_.find(issuer);
  if (found == pools_.end()) return std::nullopt;
  PoolDescriptors result;
  result.issuer = issuer;
  result.table_fd = found->second.table->fd();
  for (const Segment& segment : found->second.segments) {
    result.segments.push_back({segment.fd(), segment.size()});
  }
  return result;
}

void PoolDirectory::forget(Uid issuer) {
  const std::lock_guard lock(mutex_);
  pools_.erase(issuer);
}

std::size_t PoolDirectory::pool_count() const {
  const std::lock_guard lock(mutex_);
  return pools_.size();
}

}  // namespace echelon
