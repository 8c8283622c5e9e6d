// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

namespace echelon::cpu {
namespace {

constexpr unsigned kSlotBits = 24;
constexpr std::uint64_t kSlotMask = (std::uint64_t{1} << kSlotBits) - 1;
constexpr std::uint64_t kSerialMax = (std::uint64_t{1} << (64 - kSlotBits)) - 1;
constexpr std::uint64_t kPageBytes = 4096;

std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

Arena::~Arena() {
  for (const auto& [start, bytes] : segments_) ::munmap(reinterpret_cast<void*>(start), bytes);
}

std::uint64_t Arena::allocate(std::uint64_t bytes, std::uint64_t alignment) {
  if (bytes > bytes_free()) return 0;
  const std::uint64_t rounded = round_up(bytes, kAlignment);
  alignment = std::max(alignment, kAlignment);
  if (free_slots_.empty() && slots_.size() > kSlotMask) return 0;

  auto room = find_room(rounded, alignment);
  if (room == blocks_.end()) {
    const std::uint64_t wanted = rounded + (alignment > kPageBytes ? alignment : 0);
    if (!add_segment(wanted)) {
      release_free_segments();
      if (!add_segment(wanted)) return 0;
    }
    room = find_room(rounded, alignment);
  }
  const Address address = take(room, rounded, alignment);

  std::uint32_t index = 0;
  if (free_slots_.empty()) {
    index = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  Slot& slot = slots_[index];
  slot.address = address;
  slot.bytes = bytes;
  slot.live = true;
  bytes_used_ += rounded;
  return (slot.serial << kSlotBits) | index;
}

bool Arena::free(std::uint64_t name) {
  if (find(name).data == nullptr) return false;
  const auto index = static_cast<std::uint32_t>(name & kSlotMask);
  Slot& slot = slots_[index];
  bytes_used_ -= round_up(slot.bytes, kAlignment);
  give_back(slot.address);
  slot.live = false;
  // A slot whose serials are used up is retired.
  if (slot.serial < kSerialMax) {
    ++slot.serial;
    free_slots_.push_back(index);
  }
  return true;
}

Arena::Piece Arena::find(std::uint64_t name) const {
  const std::uint64_t index = name & kSlotMask;
  if (index >= slots_.size()) return {};
  const Slot& slot = slots_[index];
  if (!slot.live || slot.serial != name >> kSlotBits) return {};
  return {reinterpret_cast<std::byte*>(slot.address), slot.bytes};
}

std::map<Arena::Address, Arena::Block>::iterator Arena::find_room(std::uint64_t bytes,
                                                                  std::uint64_t alignment) {
  // Blocks start at kAlignment, so a stricter alignment may cost its own size at the front.
  for (auto at = free_.lower_bound({bytes, 0}); at != free_.end(); ++at) {
    const auto [size, address] = *at;
    if (round_up(address, alignment) - address + bytes <= size) return blocks_.find(address);
  }
  return blocks_.end();
}

bool Arena::add_segment(std::uint64_t bytes) {
  const std::uint64_t left = bytes_max_ > bytes_mapped_ ? bytes_max_ - bytes_mapped_ : 0;
  const std::uint64_t need = round_up(bytes, kPageBytes);
  // The limit need not be a multiple of the page.
  if (need > round_up(left, kPageBytes)) return false;
  const std::uint64_t size = std::max(need, std::min(kSegmentBytesMin, round_up(left, kPageBytes)));
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  const auto start = reinterpret_cast<Address>(memory);
  segments_.emplace(start, size);
  bytes_mapped_ += size;
  const auto at = blocks_.emplace(start, Block{size, start, false}).first;
  set_free(at, true);
  return true;
}

void Arena::release_free_segments() {
  for (auto segment = segments_.begin(); segment != segments_.end();) {
    const auto [start, bytes] = *segment;
    const auto block = blocks_.find(start);
    if (!block->second.free || block->second.bytes != bytes) {
      ++segment;
      continue;
    }
    free_.erase({bytes, start});
    blocks_.erase(block);
    ::munmap(reinterpret_cast<void*>(start), bytes);
    bytes_mapped_ -= bytes;
    segment = segments_.erase(segment);
  }
}

Arena::Address Arena::take(std::map<Address, Block>::iterator at, std::uint64_t bytes,
                           std::uint64_t alignment) {
  set_free(at, false);
  const Address start = at->first;
  const Address address = round_up(start, alignment);
  const Block whole = at->second;
  if (address != start) {
    at->second.bytes = address - start;
    set_free(at, true);
    at = blocks_.emplace(address, Block{whole.bytes - (address - start), whole.segment, false})
             .first;
  }
  if (at->second.bytes > bytes) {
    const Block rest{at->second.bytes - bytes, whole.segment, false};
    at->second.bytes = bytes;
    set_free(blocks_.emplace(address + bytes, rest).first, true);
  }
  return address;
}

void Arena::give_back(Address address) {
  auto at = blocks_.find(address);
  const auto next = std::next(at);
  if (next != blocks_.end() && next->second.free && next->second.segment == at->second.segment) {
    set_free(next, false);
    at->second.bytes += next->second.bytes;
    blocks_.erase(next);
  }
  if (at != blocks_.begin()) {
    const auto before = std::prev(at);
    if (before->second.free && before->second.segment == at->second.segment) {
      set_free(before, false);
      before->second.bytes += at->second.bytes;
      blocks_.erase(at);
      at = before;
    }
  }
  set_free(at, true);
}

void Arena::set_free(std::map<Address, Block>::iterator at, bool free) {
  at->second.free = free;
  if (free) {
    free_.emplace(at->second.bytes, at->first);
  } else {
    free_.erase({at->second.bytes, at->first});
  }
}

}  // namespace echelon::cpu
