// SPDX-License-Identifier: Apache-2.0
#include "api/staging_cache.h"

#include <algorithm>

namespace echelon::detail {
namespace {

bool same_view(const TensorDesc& a, const TensorDesc& b) {
  return a.issuer == b.issuer && a.buffer == b.buffer && a.offset == b.offset &&
         a.dtype == b.dtype && a.rank == b.rank &&
         std::equal(a.extent.begin(), a.extent.begin() + a.rank, b.extent.begin()) &&
         std::equal(a.stride.begin(), a.stride.begin() + a.rank, b.stride.begin());
}

}  // namespace

StagingCache::Entries::iterator StagingCache::find_locked(ChildIndex worker,
                                                          const TensorDesc& view) {
  return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.worker == worker && same_view(entry.view, view);
  });
}

std::optional<StagingCache::Found> StagingCache::find(ChildIndex worker, const TensorDesc& view,
                                                      std::uint64_t version, RunId run) {
  const std::lock_guard lock(mutex_);
  const auto entry = find_locked(worker, view);
  if (entry == entries_.end() || (entry->run && entry->run != run)) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, entry);
  return Found{entry->copy, entry->version == version};
}

void StagingCache::put(ChildIndex worker, const TensorDesc& view, std::uint64_t version, RunId run,
                       const Tensor& copy) {
  Entries leaving;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (const auto entry = find_locked(worker, view); entry != entries_.end()) {
    if (entry->run && entry->run != run) return;
    leaving.splice(leaving.begin(), entries_, entry);
  }
  entries_.push_front({worker, view, version, run, copy});
  for (auto entry = entries_.end();
       entries_.size() > kStagedCopiesMax && --entry != entries_.begin();) {
    if (entry->run) continue;
    const auto oldest = entry++;
    leaving.splice(leaving.begin(), entries_, oldest);
  }
}

void StagingCache::run_ended(RunId run, bool well) {
  Entries leaving;
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto current = entry++;
    if (current->run != run) continue;
    if (well)
      current->run = {};
    else
      leaving.splice(leaving.begin(), entries_, current);
  }
}

std::size_t StagingCache::drop_idle() {
  Entries leaving;
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto current = entry++;
    if (!current->run) leaving.splice(leaving.begin(), entries_, current);
  }
  return leaving.size();
}

}  // namespace echelon::detail
