// SPDX-License-Identifier: Apache-2.0
#include "base/fd.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace echelon {
namespace {

constexpr int kWordBits = 64;
// One bit a descriptor: no lock that a thread of the parent could hold at the moment of a fork.
std::array<std::atomic<std::uint64_t>, (kMarkedFdMax + 1) / kWordBits> marks{};
// The highest word ever used; saves looking through the whole table.
std::atomic<int> words_used{0};

void mark(int fd) {
  if (fd < 0 || fd > kMarkedFdMax) return;
  const int word = fd / kWordBits;
  marks[word].fetch_or(std::uint64_t{1} << (fd % kWordBits), std::memory_order_relaxed);
  int used = words_used.load(std::memory_order_relaxed);
  while (used <= word &&
         !words_used.compare_exchange_weak(used, word + 1, std::memory_order_relaxed)) {}
}

void unmark(int fd) {
  if (fd < 0 || fd > kMarkedFdMax) return;
  marks[fd / kWordBits].fetch_and(~(std::uint64_t{1} << (fd % kWordBits)),
                                  std::memory_order_relaxed);
}

}  // namespace

UniqueFd::UniqueFd(int fd) : fd_(fd) {
  mark(fd);
}

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

int UniqueFd::release() {
  unmark(fd_);
  return std::exchange(fd_, -1);
}

void UniqueFd::reset() {
  if (fd_ < 0) return;
  const int fd = release();
  ::close(fd);  // EINTR closes as well on Linux; there is nothing else to do about an error
}

bool fd_is_marked(int fd) {
  if (fd < 0 || fd > kMarkedFdMax) return false;
  const std::uint64_t word = marks[fd / kWordBits].load(std::memory_order_relaxed);
  return ((word >> (fd % kWordBits)) & 1) != 0;
}

std::size_t close_inherited_fds(std::span<const int> keep) {
  std::size_t closed = 0;
  const int words = words_used.load(std::memory_order_relaxed);
  for (int word = 0; word < words; ++word) {
    std::uint64_t bits = marks[word].load(std::memory_order_relaxed);
    for (; bits != 0; bits &= bits - 1) {
      const int fd = word * kWordBits + std::countr_zero(bits);
      if (std::find(keep.begin(), keep.end(), fd) != keep.end()) continue;
      unmark(fd);
      ::close(fd);
      ++closed;
    }
  }
  return closed;
}

}  // namespace echelon
