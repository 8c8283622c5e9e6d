// SPDX-License-Identifier: Apache-2.0
//
// Words of memory that a test shares with the processes it starts, past the runtime and its tags:
// where tasks say what they did, and wait for each other.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "process_set.h"

namespace echelon::tree_test {

/// Made before start(), and captured by reference in callables. Words are zero at first.
class SharedWords {
 public:
  using Word = std::atomic<std::int32_t>;

  explicit SharedWords(std::size_t count = 64) : bytes_(count * sizeof(Word)) {
    void* const memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    words_ = static_cast<Word*>(memory);
  }
  ~SharedWords() { ::munmap(words_, bytes_); }
  SharedWords(const SharedWords&) = delete;
  SharedWords& operator=(const SharedWords&) = delete;

  Word& operator[](std::size_t i) const { return words_[i]; }
  void clear() const {
    for (std::size_t i = 0; i < bytes_ / sizeof(Word); ++i) words_[i] = 0;
  }

  /// Waits until word `i` is not 0; throws where that does not come.
  void wait_for(std::size_t i) const {
    if (!eventually([&] { return words_[i] != 0; })) throw std::runtime_error("nobody came");
  }
  /// Says "`mine` of `count` is here" and waits for the others; throws where one does not come.
  void meet(std::size_t mine, std::size_t count) const {
    words_[mine] = 1;
    for (std::size_t i = 0; i < count; ++i) wait_for(i);
  }

 private:
  const std::size_t bytes_;
  Word* words_ = nullptr;
};

}  // namespace echelon::tree_test
