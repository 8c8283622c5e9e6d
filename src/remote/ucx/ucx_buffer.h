// SPDX-License-Identifier: Apache-2.0
//
// Memory for messages, kept between them: a fresh mebibyte costs a page fault each four kilobytes,
// which takes as long as sending it.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "remote/lane.h"

namespace echelon {

struct UcxBuffer {
  std::unique_ptr<std::byte[]> bytes;
  std::size_t capacity = 0;
};

class UcxBuffers {
 public:
  /// Of at least so many bytes; what is in it is undefined.
  UcxBuffer take(std::size_t bytes) {
    const std::size_t size = size_class(bytes);
    auto& kept = kept_[size];
    if (kept.empty()) {
      const std::size_t capacity = std::size_t{1} << size;
      return {std::unique_ptr<std::byte[]>(new std::byte[capacity]), capacity};
    }
    UcxBuffer buffer = std::move(kept.back());
    kept.pop_back();
    kept_bytes_ -= buffer.capacity;
    return buffer;
  }
  void give_back(UcxBuffer buffer) {
    if (buffer.bytes == nullptr || kept_bytes_ + buffer.capacity > kKeptBytesMax) return;
    kept_bytes_ += buffer.capacity;
    kept_[size_class(buffer.capacity)].push_back(std::move(buffer));
  }

 private:
  static constexpr std::size_t kSmallest = 9;  // 512 bytes
  static constexpr std::size_t kClasses = std::bit_width(kLaneMessageBytesMax - 1) + 1;
  static constexpr std::size_t kKeptBytesMax = std::size_t{4} << 20;

  static std::size_t size_class(std::size_t bytes) {
    const auto width = bytes == 0 ? 0 : static_cast<std::size_t>(std::bit_width(bytes - 1));
    return width < kSmallest ? kSmallest : width;
  }

  std::array<std::vector<UcxBuffer>, kClasses> kept_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace echelon
