// SPDX-License-Identifier: Apache-2.0
//
// TimerHeap: one timer each for tasks and runs, soonest first. A timer that is set anew or
// cancelled leaves nothing behind, so the heap is never larger than what is alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/env.h"

namespace echelon {

class TimerHeap {
 public:
  /// Whose timer it is.
  struct Key {
    std::uint32_t index = 0;
    bool is_run = false;
    friend bool operator==(const Key&, const Key&) = default;
  };

  /// Sets or moves the timer of `key`. REQUIRES: at_ns != 0
  void set(Key key, MonotonicNs at_ns);
  /// Does nothing when there is none.
  void cancel(Key key);

  /// 0: none is set.
  MonotonicNs next_ns() const { return heap_.empty() ? 0 : heap_.front().at_ns; }
  /// Removes the soonest. Equal times: runs before tasks, then by index. REQUIRES: next_ns() != 0
  Key pop();

  std::size_t memory_bytes() const;

 private:
  struct Item {
    MonotonicNs at_ns = 0;
    Key key;
  };

  static bool sooner(const Item& a, const Item& b);
  std::uint32_t& position(Key key);
  void place(std::size_t at, const Item& item);
  void sift_up(std::size_t at);
  void sift_down(std::size_t at);
  void remove(std::size_t at);

  std::vector<Item> heap_;
  std::vector<std::uint32_t> positions_[2];  // of tasks, of runs: place in heap_, or kNoIndex
};

}  // namespace echelon
