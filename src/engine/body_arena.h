// SPDX-License-Identifier: Apache-2.0
//
// BodyArena: the bytes of task bodies and results. Blocks of a few sizes, carved from slabs and
// reused; larger ones come from the heap one by one.
//
// Ownership: a Block is handed out once and given back once; the arena frees everything at its end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace echelon {

class BodyArena {
 public:
  explicit BodyArena(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  ~BodyArena();
  BodyArena(const BodyArena&) = delete;
  BodyArena& operator=(const BodyArena&) = delete;

  bool fits(std::uint64_t bytes) const { return used_ + bytes <= bytes_max_; }
  std::uint64_t used_bytes() const { return used_; }
  std::uint64_t bytes_max() const { return bytes_max_; }

  /// A copy of `bytes`; nullptr for none. The limit is the caller's to check, with fits().
  std::byte* copy(std::span<const std::byte> bytes);
  /// `bytes`: as many as were copied.
  void free(std::byte* block, std::size_t bytes);

  std::size_t memory_bytes() const { return memory_; }

 private:
  // Steps of 32 to 512, of 512 to 4 KiB, of 4 KiB to 16 KiB: a block wastes an eighth at most, from
  // 256 bytes on.
  static constexpr std::size_t kClasses = 16 + 7 + 3;
  static constexpr std::size_t kPooledMax = 16 * 1024;
  static constexpr std::size_t kSlabBytes = 64 * 1024;
  struct FreeBlock {
    FreeBlock* next;
  };

  static std::size_t class_of(std::size_t bytes);
  static std::size_t class_bytes(std::size_t index);
  std::byte* allocate(std::size_t bytes);
  std::byte* carve(std::size_t index);

  std::uint64_t bytes_max_;
  std::uint64_t used_ = 0;
  std::size_t memory_ = 0;
  std::array<FreeBlock*, kClasses> free_{};
  std::array<std::span<std::byte>, kClasses> rest_{};  // what a class has not carved yet
  std::vector<std::unique_ptr<std::byte[]>> slabs_;
  std::uint64_t large_ = 0;  // blocks from the heap now handed out
};

}  // namespace echelon
