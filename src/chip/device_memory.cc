// SPDX-License-Identifier: Apache-2.0
#include "chip/device_memory.h"

#include <algorithm>
#include <bit>

namespace echelon {
namespace {

/// Freeing what the device itself handed out fails only where the device is lost; then the next
/// call on it says so.
void free_quietly(ChipDevice& device, DeviceMemory memory) {
  (void)device.free(memory);
}

}  // namespace

StagingCache::~StagingCache() {
  clear();
}

Result<StagingCache::Piece> StagingCache::take(std::uint64_t bytes) {
  if (bytes == 0) return Piece{};
  // Above this nothing rounds up to a power of two.
  if (bytes > std::uint64_t{1} << 62) {
    return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                         "a tensor is larger than any device's memory");
  }
  const std::uint64_t size = std::bit_ceil(std::max(bytes, kStagingBytesMin));
  if (const auto found = idle_.find(size); found != idle_.end() && !found->second.empty()) {
    const Piece piece{found->second.back(), size};
    found->second.pop_back();
    idle_bytes_ -= size;
    return piece;
  }
  auto memory = device_.allocate(size);
  if (!memory.ok()) {
    clear();
    // Rounding up must not be what does not fit.
    memory = device_.allocate(bytes);
    if (!memory.ok()) return memory.status();
    return Piece{*memory, std::has_single_bit(bytes) && bytes >= kStagingBytesMin ? bytes : 0};
  }
  return Piece{*memory, size};
}

void StagingCache::give_back(const Piece& piece) {
  if (piece.memory == 0) return;
  // bytes == 0: an odd size, taken when memory was short.
  if (piece.bytes == 0 || idle_bytes_ + piece.bytes > kStagingIdleBytesMax) {
    free_quietly(device_, piece.memory);
    return;
  }
  idle_[piece.bytes].push_back(piece.memory);
  idle_bytes_ += piece.bytes;
}

void StagingCache::clear() {
  for (auto& [size, pieces] : idle_) {
    for (const DeviceMemory memory : pieces) free_quietly(device_, memory);
    pieces.clear();
  }
  idle_bytes_ = 0;
}

DeviceBuffers::~DeviceBuffers() {
  for (const auto& [name, buffer] : buffers_) free_quietly(device_, buffer.memory);
}

const DeviceBuffers::Buffer* DeviceBuffers::find(Uid issuer, BufferId id) const {
  const auto found = buffers_.find({id, issuer});
  return found != buffers_.end() ? &found->second : nullptr;
}

Result<DeviceBuffers::Buffer> DeviceBuffers::add(Uid issuer, BufferId id, std::uint64_t bytes) {
  auto memory = device_.allocate(bytes);
  if (!memory.ok()) {
    staging_.clear();
    memory = device_.allocate(bytes);
    if (!memory.ok()) return memory.status();
  }
  if (Status zeroed = device_.fill(*memory, 0, 0, bytes); !zeroed.ok()) {
    free_quietly(device_, *memory);
    return zeroed;
  }
  const Buffer buffer{*memory, bytes};
  buffers_.emplace(std::pair(id, issuer), buffer);
  bytes_ += bytes;
  return buffer;
}

void DeviceBuffers::release(BufferId id) {
  for (auto at = buffers_.lower_bound({id, Uid{}}); at != buffers_.end() && at->first.first == id;
       at = buffers_.erase(at)) {
    bytes_ -= at->second.bytes;
    free_quietly(device_, at->second.memory);
  }
}

}  // namespace echelon
