// SPDX-License-Identifier: Apache-2.0
//
// StagingCache: the copies of a Worker's tensors that lie in its remote children's memory, so that
// a tensor that cannot have changed since does not travel again (Stage::kCopy).
//
// A copy is *current* if it was made of the version that the tensor has now
// (Buffer::note_write()), by a run that has ended well or by the one that asks: within a run a copy
// that failed poisons the tasks that read it, in another run it would not. While a run that wrote a
// copy goes on, other runs do not touch that copy and get one of their own.
//
// Threads: safe. Blocking: never.
#pragma once

#include <cstdint>
#include <list>
#include <mutex>
#include <optional>

#include <echelon/tensor.h>

#include "base/ids.h"
#include "shm/tensor_desc.h"

namespace echelon::detail {

/// Copies kept at most; the one that was not used for longest goes first.
inline constexpr std::size_t kStagedCopiesMax = 256;

class StagingCache {
 public:
  struct Found {
    Tensor copy;
    bool current = false;  // no need to copy anything into it
  };
  /// The copy of this view at `worker` that `run` may use; nullopt: there is none.
  std::optional<Found> find(ChildIndex worker, const TensorDesc& view, std::uint64_t version,
                            RunId run);
  /// `copy` has the bytes of `version` once what `run` has submitted is done.
  void put(ChildIndex worker, const TensorDesc& view, std::uint64_t version, RunId run,
           const Tensor& copy);
  void run_ended(RunId run, bool well);
  /// Lets go of all that no run is writing. Returns how many.
  std::size_t drop_idle();

 private:
  struct Entry {
    ChildIndex worker;
    TensorDesc view;
    std::uint64_t version = 0;
    RunId run;  // 0: it has ended well
    Tensor copy;
  };
  using Entries = std::list<Entry>;

  Entries::iterator find_locked(ChildIndex worker, const TensorDesc& view);

  std::mutex mutex_;
  Entries entries_;  // the last used first
};

}  // namespace echelon::detail
