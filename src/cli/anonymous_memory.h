// SPDX-License-Identifier: Apache-2.0
//
// AnonymousMemory: pages of this process, or shared with what it forks later.
//
// Ownership: unmapped with the object. Fork: private pages are copied on write, shared ones shared.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace echelon::cli {

class AnonymousMemory {
 public:
  enum class Kind { kPrivate, kShared };

  /// Throws std::system_error.
  AnonymousMemory(std::size_t bytes, Kind kind);
  ~AnonymousMemory();
  AnonymousMemory(AnonymousMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  AnonymousMemory& operator=(AnonymousMemory&&) = delete;

  void* data() const { return data_; }
  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(data_), bytes_}; }

 private:
  void* data_;
  std::size_t bytes_;
};

/// Writes to every page, so that it exists.
void touch_pages(std::span<std::byte> bytes);

}  // namespace echelon::cli
