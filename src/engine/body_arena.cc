// SPDX-License-Identifier: Apache-2.0
#include "engine/body_arena.h"

#include <cstring>
#include <new>

#include "base/check.h"

namespace echelon {

BodyArena::~BodyArena() {
  ECHELON_CHECK(large_ == 0, large_);
}

std::size_t BodyArena::class_of(std::size_t bytes) {
  if (bytes <= 512) return (bytes + 31) / 32 - 1;
  if (bytes <= 4096) return 16 + (bytes + 511) / 512 - 2;
  return 16 + 7 + (bytes + 4095) / 4096 - 2;
}

std::size_t BodyArena::class_bytes(std::size_t index) {
  if (index < 16) return (index + 1) * 32;
  if (index < 23) return (index - 16 + 2) * 512;
  return (index - 23 + 2) * 4096;
}

std::byte* BodyArena::carve(std::size_t index) {
  const std::size_t bytes = class_bytes(index);
  auto& rest = rest_[index];
  if (rest.size() < bytes) {
    slabs_.push_back(std::make_unique_for_overwrite<std::byte[]>(kSlabBytes));
    rest = {slabs_.back().get(), kSlabBytes};
    memory_ += kSlabBytes;
  }
  std::byte* const block = rest.data();
  rest = rest.subspan(bytes);
  return block;
}

std::byte* BodyArena::allocate(std::size_t bytes) {
  if (bytes > kPooledMax) {
    ++large_;
    memory_ += bytes;
    return static_cast<std::byte*>(::operator new(bytes));
  }
  const std::size_t index = class_of(bytes);
  FreeBlock* const block = free_[index];
  if (block == nullptr) return carve(index);
  free_[index] = block->next;
  return reinterpret_cast<std::byte*>(block);
}

std::byte* BodyArena::copy(std::span<const std::byte> bytes) {
  if (bytes.empty()) return nullptr;
  std::byte* const block = allocate(bytes.size());
  std::memcpy(block, bytes.data(), bytes.size());
  used_ += bytes.size();
  return block;
}

void BodyArena::free(std::byte* block, std::size_t bytes) {
  if (block == nullptr) return;
  used_ -= bytes;
  if (bytes > kPooledMax) {
    --large_;
    memory_ -= bytes;
    ::operator delete(block);
    return;
  }
  const std::size_t index = class_of(bytes);
  free_[index] = new (block) FreeBlock{free_[index]};
}

}  // namespace echelon
