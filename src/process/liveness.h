// SPDX-License-Identifier: Apache-2.0
//
// Liveness: a word in shared memory that the kernel itself changes when its owner dies. It is the
// futex word of a robust, process-shared mutex that the child's executor locks before it says READY
// and never unlocks; on any end of that thread the kernel sets FUTEX_OWNER_DIED and, if
// FUTEX_WAITERS is set, wakes one sleeper. Measured: 0.09 ms after a SIGKILL, whatever the
// process's size.
//
// Processes: the parent makes it and watches, the child holds it.
// Threads: hold_liveness() binds it to the calling thread; watching is safe from any thread, but
// the
//   kernel wakes one sleeper only, so one thread alone sleeps on the word.
// Fork: a forked copy of the holder does not hold it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace echelon {

/// Lies in the channel's liveness area, or in a mapping shared with a forked spawner.
struct LivenessData {
  pthread_mutex_t mutex;
  std::byte reserved[64 - sizeof(pthread_mutex_t)];
};
static_assert(sizeof(LivenessData) == 64);

enum class LivenessState : std::uint8_t {
  kNotYet,     // nobody has taken it yet
  kAlive,      // its holder lives
  kOwnerDied,  // its holder's thread has ended, however that came
};

/// REQUIRES: zeroed memory that nobody else uses yet. Errors: kSystem.
Status init_liveness(LivenessData& data);

/// Takes it for the calling thread, until that thread ends. Errors: kSystem; kWrongState where
/// it was not initialised, or somebody holds it already (a peer wrote into it, or two children
/// share one channel), or where it was never initialised.
Status hold_liveness(LivenessData& data);

/// The watching side. The word may be changed by a hostile child; the worst that follows is a death
/// noticed early (its parent then ends it) or by the spawner's report.
class LivenessWatch {
 public:
  explicit LivenessWatch(const LivenessData& data);

  LivenessState state() const;
  /// Asks the kernel for a wake-up (sets FUTEX_WAITERS) and returns the value to sleep on. With
  /// kNotYet nothing is set, as the first owner must find the word zero; its child rings the
  /// doorbell after it has taken it, and the watcher arms again.
  struct Armed {
    LivenessState state = LivenessState::kNotYet;
    std::uint32_t expected = 0;
  };
  Armed arm();
  /// For futex_wait(v): sleep while it holds Armed::expected, unless that state is kOwnerDied.
  const std::atomic<std::uint32_t>& word() const { return *word_; }

 private:
  std::atomic<std::uint32_t>* word_;
};

}  // namespace echelon
