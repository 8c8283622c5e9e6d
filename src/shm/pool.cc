// SPDX-License-Identifier: Apache-2.0
#include "shm/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

namespace echelon {
namespace {

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
  return (value + step - 1) / step * step;
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes >= (1u << 20)) return fmt::format("{:.4g} MiB", static_cast<double>(bytes) / (1 << 20));
  return fmt::format("{} bytes", bytes);
}

}  // namespace

std::uint64_t size_class(std::uint64_t bytes) {
  if (bytes <= 4 * kBufferAlign) return std::max(round_up(bytes, kBufferAlign), kBufferAlign);
  // four classes to each power of two
  const std::uint64_t step = std::bit_floor(bytes - 1) / 4;
  return round_up(bytes, std::max<std::uint64_t>(step, kBufferAlign));
}

Status check_view(const TensorDesc& desc, Access want, std::uint64_t buffer_bytes) {
  if (!allows(desc.access, want)) {
    return Status::error(Code::kPermissionDenied, Reason::kWrongAccess,
                         want == Access::kRead
                             ? "this handle does not allow reading"
                             : "this handle is read-only; pass the tensor as output or inout");
  }
  const std::uint64_t span = desc.span_bytes();
  if (desc.offset > buffer_bytes || span > buffer_bytes - desc.offset) {
    return Status::error(
        Code::kOutOfRange, Reason::kBadArgument,
        fmt::format("a view of {} bytes at {} does not lie within its buffer of {} bytes", span,
                    desc.offset, buffer_bytes));
  }
  const std::uint64_t element = size_of(desc.dtype);
  bool aligned = element != 0 && desc.offset % element == 0;
  for (std::size_t d = 0; aligned && d < desc.rank; ++d) {
    aligned = static_cast<std::uint64_t>(desc.stride[d]) % element == 0;
  }
  if (aligned) return {};
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       fmt::format("a view's offset and strides must be multiples of its "
                                   "elements' {} bytes",
                                   element));
}

HostPool::HostPool(Uid issuer, HostPoolOptions options, BufferTable table)
    : issuer_(issuer), options_(std::move(options)), table_(std::move(table)) {}

Result<std::unique_ptr<HostPool>> HostPool::create(Uid issuer, HostPoolOptions options) {
  ECHELON_ASSIGN_OR_RETURN(BufferTable table, BufferTable::create());
  return std::unique_ptr<HostPool>(new HostPool(issuer, std::move(options), std::move(table)));
}

// --- allocation
// -----------------------------------------------------------------------------------

Result<BufferId> HostPool::allocate(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > options_.bytes_max) return exhausted_locked(bytes);
  const std::uint64_t whole = size_class(bytes);
  if (live_bytes_ + whole > options_.bytes_max) return exhausted_locked(bytes);
  ECHELON_ASSIGN_OR_RETURN(const Piece piece, take_piece_locked(whole));
  auto id = table_.add({piece.segment, piece.offset, bytes});
  if (!id.ok()) {
    recycled_[whole].push_back(piece);
    recycled_bytes_ += whole;
    return id.status();
  }
  live_bytes_ += whole;
  return id;
}

Status HostPool::free(BufferId id) {
  const std::lock_guard lock(mutex_);
  ECHELON_ASSIGN_OR_RETURN(const BufferPlace place, table_.remove(id));
  if (place.segment == kSegmentElsewhere) return {};
  const std::uint64_t whole = size_class(place.bytes);
  recycled_[whole].push_back({place.segment, place.offset});
  recycled_bytes_ += whole;
  live_bytes_ -= whole;
  return {};
}

Result<BufferId> HostPool::name_elsewhere(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  return table_.add({kSegmentElsewhere, 0, bytes});
}

/// Warm pieces of this size first; then unused memory; then recycled pieces, merged; then more.
Result<HostPool::Piece> HostPool::take_piece_locked(std::uint64_t bytes) {
  if (const auto found = recycled_.find(bytes);
      found != recycled_.end() && !found->second.empty()) {
    const Piece piece = found->second.back();
    found->second.pop_back();
    recycled_bytes_ -= bytes;
    return piece;
  }
  Piece piece;
  if (carve_locked(bytes, piece)) return piece;
  if (recycled_bytes_ >= bytes) {
    merge_recycled_locked();
    if (carve_locked(bytes, piece)) return piece;
  }
  ECHELON_RETURN_IF_ERROR(grow_locked(bytes));
  const bool carved = carve_locked(bytes, piece);
  ECHELON_CHECK(carved, bytes);
  return piece;
}

/// Takes the first `bytes` of the smallest extent that has them.
bool HostPool::carve_locked(std::uint64_t bytes, Piece& piece) {
  const auto found = free_by_size_.lower_bound(Extent{bytes, 0, 0});
  if (found == free_by_size_.end()) return false;
  const Extent extent = *found;
  free_by_size_.erase(found);
  free_by_place_.erase({extent.segment, extent.offset});
  piece = {extent.segment, extent.offset};
  if (extent.bytes > bytes) {
    const Extent rest{extent.bytes - bytes, extent.segment, extent.offset + bytes};
    free_by_size_.insert(rest);
    free_by_place_.emplace(std::pair(rest.segment, rest.offset), rest.bytes);
  }
  return true;
}

void HostPool::merge_recycled_locked() {
  for (auto& [bytes, pieces] : recycled_) {
    for (const Piece& piece : pieces) add_extent_locked({bytes, piece.segment, piece.offset});
    pieces.clear();
  }
  recycled_bytes_ = 0;
}

/// Puts an extent back, joined with its neighbours.
void HostPool::add_extent_locked(Extent extent) {
  auto next = free_by_place_.lower_bound({extent.segment, extent.offset});
  if (next != free_by_place_.end() &&
      next->first == std::pair(extent.segment, extent.offset + extent.bytes)) {
    free_by_size_.erase({next->second, next->first.first, next->first.second});
    extent.bytes += next->second;
    next = free_by_place_.erase(next);
  }
  if (next != free_by_place_.begin()) {
    const auto before = std::prev(next);
    if (before->first == std::pair(extent.segment, extent.offset - before->second)) {
      free_by_size_.erase({before->second, before->first.first, before->first.second});
      extent.bytes += before->second;
      extent.offset = before->first.second;
      free_by_place_.erase(before);
    }
  }
  free_by_size_.insert(extent);
  free_by_place_.emplace(std::pair(extent.segment, extent.offset), extent.bytes);
}

Status HostPool::grow_locked(std::uint64_t bytes) {
  if (segments_.size() == kPoolSegmentsMax) return exhausted_locked(bytes);
  MapOptions options;
  options.dont_fork = true;
  const std::uint64_t whole = std::max(bytes, options_.segment_bytes_min);
  ECHELON_ASSIGN_OR_RETURN(Segment segment, Segment::create("echelon-pool", whole, options));
  const Extent extent{segment.size(), static_cast<std::uint32_t>(segments_.size()), 0};
  mapped_bytes_ += segment.size();
  segments_.push_back(std::move(segment));
  add_extent_locked(extent);
  return {};
}

Status HostPool::exhausted_locked(std::uint64_t bytes) const {
  const std::string owner = options_.owner.empty() ? "this Worker" : options_.owner;
  return Status::error(
      Code::kResourceExhausted, Reason::kExhausted,
      fmt::format("the host memory of {} is used up: {} are wanted, {} of {} are held by {} live "
                  "buffers in {} segments; free tensors, or raise the limit",
                  owner, bytes_text(bytes), bytes_text(live_bytes_), bytes_text(options_.bytes_max),
                  table_.live_count(), segments_.size()));
}

// --- questions
// ------------------------------------------------------------------------------------

Result<std::span<std::byte>> HostPool::bytes_of(BufferId id) const {
  const std::lock_guard lock(mutex_);
  ECHELON_ASSIGN_OR_RETURN(const BufferPlace place, table_.find(id));
  if (place.segment == kSegmentElsewhere) {
    return Status::error(Code::kInvalidArgument, Reason::kForeignHandle,
                         "this buffer lies in the memory of a chip; copy it to the host");
  }
  return std::span(segments_[place.segment].data() + place.offset, place.bytes);
}

Result<std::byte*> HostPool::open(const TensorDesc& desc, Access want) const {
  if (desc.issuer != issuer_ || desc.home != issuer_) {
    return Status::error(Code::kInvalidArgument, Reason::kForeignHandle,
                         desc.issuer != issuer_
                             ? "a handle of another Worker: its memory is not known here"
                             : "this tensor lies in the memory of a chip; copy it to the host");
  }
  ECHELON_ASSIGN_OR_RETURN(const auto bytes, bytes_of(desc.buffer));
  ECHELON_RETURN_IF_ERROR(check_view(desc, want, bytes.size()));
  return bytes.data() + desc.offset;
}

PoolDescriptors HostPool::descriptors() const {
  const std::lock_guard lock(mutex_);
  PoolDescriptors result;
  result.issuer = issuer_;
  result.table_fd = table_.fd();
  for (const Segment& segment : segments_) {
    result.segments.push_back({segment.fd(), segment.size()});
  }
  return result;
}

std::uint32_t HostPool::segment_count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(segments_.size());
}

HostPool::Usage HostPool::usage() const {
  const std::lock_guard lock(mutex_);
  return {table_.live_count(), live_bytes_, mapped_bytes_};
}

}  // namespace echelon
