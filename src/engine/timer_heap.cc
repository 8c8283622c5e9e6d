// SPDX-License-Identifier: Apache-2.0
#include "engine/timer_heap.h"

#include "base/check.h"
#include "engine/pool.h"

namespace echelon {

bool TimerHeap::sooner(const Item& a, const Item& b) {
  if (a.at_ns != b.at_ns) return a.at_ns < b.at_ns;
  if (a.key.is_run != b.key.is_run) return a.key.is_run;
  return a.key.index < b.key.index;
}

std::uint32_t& TimerHeap::position(Key key) {
  auto& positions = positions_[key.is_run ? 1 : 0];
  if (key.index >= positions.size()) positions.resize(std::size_t{key.index} + 1, kNoIndex);
  return positions[key.index];
}

void TimerHeap::place(std::size_t at, const Item& item) {
  heap_[at] = item;
  position(item.key) = static_cast<std::uint32_t>(at);
}

void TimerHeap::sift_up(std::size_t at) {
  const Item item = heap_[at];
  while (at > 0 && sooner(item, heap_[(at - 1) / 2])) {
    place(at, heap_[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  place(at, item);
}

void TimerHeap::sift_down(std::size_t at) {
  const Item item = heap_[at];
  for (;;) {
    std::size_t child = 2 * at + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && sooner(heap_[child + 1], heap_[child])) ++child;
    if (!sooner(heap_[child], item)) break;
    place(at, heap_[child]);
    at = child;
  }
  place(at, item);
}

void TimerHeap::set(Key key, MonotonicNs at_ns) {
  ECHELON_CHECK(at_ns != 0);
  const std::uint32_t at = position(key);
  if (at == kNoIndex) {
    heap_.push_back({at_ns, key});
    sift_up(heap_.size() - 1);
    return;
  }
  heap_[at].at_ns = at_ns;
  sift_up(at);
  sift_down(position(key));
}

void TimerHeap::remove(std::size_t at) {
  position(heap_[at].key) = kNoIndex;
  const Item last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  place(at, last);
  sift_up(at);
  sift_down(position(last.key));
}

void TimerHeap::cancel(Key key) {
  if (heap_.empty() || key.index >= positions_[key.is_run ? 1 : 0].size()) return;
  const std::uint32_t at = position(key);
  if (at != kNoIndex) remove(at);
}

TimerHeap::Key TimerHeap::pop() {
  ECHELON_CHECK(!heap_.empty());
  const Key key = heap_.front().key;
  remove(0);
  return key;
}

std::size_t TimerHeap::memory_bytes() const {
  return heap_.capacity() * sizeof(Item) +
         (positions_[0].capacity() + positions_[1].capacity()) * sizeof(std::uint32_t);
}

}  // namespace echelon
