// SPDX-License-Identifier: Apache-2.0
#include "base/unforked.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>

namespace echelon {
namespace {

struct Range {
  std::atomic<std::uintptr_t> at{0};  // 0: free
  std::atomic<std::size_t> bytes{0};
};

// A fact of the process, like its table of descriptors.
constinit std::array<Range, kUnforkedRangesMax> ranges;
constinit std::atomic<std::size_t> used_max{0};

void remember(std::uintptr_t at, std::size_t bytes) {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    std::uintptr_t none = 0;
    // pairs with guard_excluded_ranges(), in a copy of this memory made by fork
    if (!ranges[i].at.compare_exchange_strong(none, at, std::memory_order_acq_rel)) continue;
    ranges[i].bytes.store(bytes, std::memory_order_relaxed);
    std::size_t seen = used_max.load(std::memory_order_relaxed);
    while (seen <= i && !used_max.compare_exchange_weak(seen, i + 1, std::memory_order_relaxed)) {}
    return;
  }
}

}  // namespace

Status exclude_from_forks(void* pages, std::size_t bytes) {
  if (::madvise(pages, bytes, MADV_DONTFORK) != 0) {
    return Status::from_errno(errno, "madvise(MADV_DONTFORK)");
  }
  remember(reinterpret_cast<std::uintptr_t>(pages), bytes);
  return {};
}

Status include_in_forks(void* pages, std::size_t bytes) {
  forget_excluded(pages);
  if (::madvise(pages, bytes, MADV_DOFORK) == 0) return {};
  return Status::from_errno(errno, "madvise(MADV_DOFORK)");
}

void forget_excluded(void* pages) {
  const auto at = reinterpret_cast<std::uintptr_t>(pages);
  const std::size_t count = used_max.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    std::uintptr_t expected = at;
    if (ranges[i].at.compare_exchange_strong(expected, 0, std::memory_order_relaxed)) return;
  }
}

void guard_excluded_ranges() {
  const std::size_t count = used_max.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uintptr_t at = ranges[i].at.load(std::memory_order_relaxed);
    const std::size_t bytes = ranges[i].bytes.load(std::memory_order_relaxed);
    if (at == 0 || bytes == 0) continue;
    // Where something lies there already (the range was unmapped and used anew), it stays.
    (void)::mmap(reinterpret_cast<void*>(at), bytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  }
}

}  // namespace echelon
