// SPDX-License-Identifier: Apache-2.0
//
// Mapping: a shared mapping of a file, unmapped with its owner.
//
// Fork: with `dont_fork` the range does not exist in a forked child (MADV_DONTFORK), whose copy of
// this object must then not be destroyed or used; the runtime's own memory is mapped so, so that no
// child pays for it or can write to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/status.h"

namespace echelon {

enum class MapAccess : std::uint8_t { kRead, kReadWrite };

struct MapOptions {
  MapAccess access = MapAccess::kReadWrite;
  bool dont_fork = false;
  bool prefault = false;  // touch every page now
};

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        excluded_(std::exchange(other.excluded_, false)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { reset(); }

  /// The first `bytes` bytes of the file behind `fd`. REQUIRES: bytes > 0. Errors: kSystem.
  static Result<Mapping> map(int fd, std::size_t bytes, const MapOptions& options);

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  std::span<std::byte> bytes() const { return {data_, bytes_}; }
  explicit operator bool() const { return data_ != nullptr; }
  void reset();
  /// Maps the file anew, elsewhere. What still points into the old range sees private memory of
  /// zeros there from now on, for as long as the process lives. Errors: kSystem; the old mapping
  /// is then as it was.
  Status move_away(int fd, const MapOptions& options);
  /// Forgets the mapping without unmapping it.
  void leak() { data_ = nullptr, bytes_ = 0, excluded_ = false; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  bool excluded_ = false;  // from forks
};

/// Bytes of a page of this machine.
std::size_t page_bytes();
std::size_t round_up_to_pages(std::size_t bytes);

}  // namespace echelon
