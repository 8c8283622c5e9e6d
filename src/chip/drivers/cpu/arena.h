// SPDX-License-Identifier: Apache-2.0
//
// Arena: the device memory of a cpu chip. Private anonymous memory, taken from the kernel a segment
// at a time and given out in pieces; freed pieces join their free neighbours and are used again
// while their pages are warm. Wholly free segments go back to the kernel only when the limit is
// near.
//
// Pieces are named, not pointed to: a name is a slot number and a serial, so that a name that was
// freed never means other memory.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace echelon::cpu {

class Arena {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t kAlignmentMax = 4096;
  static constexpr std::uint64_t kSegmentBytesMin = std::uint64_t{16} << 20;

  /// At most `bytes_max` bytes are held at a time, segments counted whole.
  explicit Arena(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A name, or 0 where there is no room. REQUIRES: bytes > 0, alignment a power of two.
  std::uint64_t allocate(std::uint64_t bytes, std::uint64_t alignment);
  /// False for what is not a live name.
  bool free(std::uint64_t name);

  struct Piece {
    std::byte* data = nullptr;
    std::uint64_t bytes = 0;
  };
  /// {nullptr, 0} for what is not a live name.
  Piece find(std::uint64_t name) const;

  std::uint64_t bytes_max() const { return bytes_max_; }
  std::uint64_t bytes_free() const { return bytes_max_ - bytes_used_; }

 private:
  using Address = std::uintptr_t;
  struct Block {
    std::uint64_t bytes = 0;
    Address segment = 0;  // where its segment starts; blocks of two segments never join
    bool free = false;
  };
  struct Slot {
    Address address = 0;
    std::uint64_t bytes = 0;  // as asked for
    std::uint64_t serial = 1;
    bool live = false;
  };

  std::map<Address, Block>::iterator find_room(std::uint64_t bytes, std::uint64_t alignment);
  bool add_segment(std::uint64_t bytes);
  void release_free_segments();
  Address take(std::map<Address, Block>::iterator at, std::uint64_t bytes, std::uint64_t alignment);
  void give_back(Address address);
  void set_free(std::map<Address, Block>::iterator at, bool free);

  std::uint64_t bytes_max_;
  std::uint64_t bytes_used_ = 0;    // of live pieces, rounded up
  std::uint64_t bytes_mapped_ = 0;  // of segments
  std::map<Address, Block> blocks_;
  std::set<std::pair<std::uint64_t, Address>> free_;  // by size
  std::map<Address, std::uint64_t> segments_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
};

}  // namespace echelon::cpu
