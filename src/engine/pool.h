// SPDX-License-Identifier: Apache-2.0
//
// ChunkPool<T>: a table of records that grows by chunks up to a limit. Addresses are stable, freed
// records are reused newest first, and once it has grown nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"

namespace echelon {

/// No record. Also the end of every list of indices.
inline constexpr std::uint32_t kNoIndex = 0xFFFFFFFFu;

/// REQUIRES: T has a `std::uint32_t next`, which is the pool's while the record is free.
/// `kBits`: a chunk has 2^kBits records.
template <class T, unsigned kBits = 10>
class ChunkPool {
 public:
  explicit ChunkPool(std::uint32_t max) : max_(max) {}

  /// kNoIndex when the limit is reached. The record is as its last user left it.
  std::uint32_t allocate() {
    if (free_ == kNoIndex) {
      if (live_ == max_) return kNoIndex;
      if (made_ == chunks_.size() * kChunk) grow();
      ++live_;
      return made_++;
    }
    const std::uint32_t index = free_;
    free_ = (*this)[index].next;
    ++live_;
    return index;
  }

  void free(std::uint32_t index) {
    (*this)[index].next = free_;
    free_ = index;
    --live_;
  }

  T& operator[](std::uint32_t index) { return chunks_[index >> kBits][index & (kChunk - 1)]; }
  const T& operator[](std::uint32_t index) const {
    return chunks_[index >> kBits][index & (kChunk - 1)];
  }

  /// Records ever made: every index below it is safe to look at, free ones too.
  std::uint32_t made() const { return made_; }
  std::uint32_t live() const { return live_; }
  std::uint32_t max() const { return max_; }
  std::uint32_t room() const { return max_ - live_; }
  std::size_t memory_bytes() const { return chunks_.size() * kChunk * sizeof(T); }

 private:
  static constexpr std::uint32_t kChunk = 1u << kBits;

  void grow() { chunks_.push_back(std::make_unique<T[]>(kChunk)); }

  std::uint32_t max_;
  std::uint32_t made_ = 0;
  std::uint32_t live_ = 0;
  std::uint32_t free_ = kNoIndex;
  std::vector<std::unique_ptr<T[]>> chunks_;
};

}  // namespace echelon
