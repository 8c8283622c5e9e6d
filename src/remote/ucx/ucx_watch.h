// SPDX-License-Identifier: Apache-2.0
//
// UcxWatch: the one thread of UCX's lanes in this process. While somebody polls a lane, it leaves
// it alone; when nobody does, it waits for the lane's events and does its work.
//
//   polled   a thread polls it; the watch looks every few milliseconds whether it still does
//   armed    UCX is armed, and the watch sleeps until its event
//
// An event makes a lane polled; who asks has_news(), or has not polled since the last look, arms
// it.
//
// Threads: any; tend() comes on the watch's own. Ownership: it holds what it watches until tend()
//   says that it is over.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/env.h"
#include "base/fd.h"
#include "base/status.h"

namespace echelon {

/// What the watch looks after.
class UcxWatched {
 public:
  virtual ~UcxWatched() = default;

  enum class Why : std::uint8_t { kEvent, kTick, kDeadline };
  /// Does what there is to do. False: it is over; release() comes next, and it is let go of.
  virtual bool tend(Why why) = 0;
  /// Ends what it has of UCX, its event_fd() with it, which nobody looks at any more.
  virtual void release() = 0;
  virtual int event_fd() const = 0;
  /// When it wants tend() at the latest; 0: it does not.
  virtual MonotonicNs deadline_ns() const = 0;
  /// Polled, not armed: see above.
  virtual bool polled() const = 0;
};

class UcxWatch {
 public:
  /// The process's. Its thread starts with the first that is added, and ends with the process.
  static UcxWatch& get();

  UcxWatch();
  ~UcxWatch();
  UcxWatch(const UcxWatch&) = delete;
  UcxWatch& operator=(const UcxWatch&) = delete;

  /// Errors: kSystem. From here on it is tended.
  Status add(std::shared_ptr<UcxWatched> watched);
  /// Its UCX was armed: the next event calls tend().
  void wait_for_event(UcxWatched& watched);
  /// Looks at all that are polled, and at deadlines, now.
  void look();

 private:
  void run();
  int sleep_ms();
  void tend(UcxWatched* watched, UcxWatched::Why why);
  void tick();

  UniqueFd epoll_;
  UniqueFd bell_;
  std::atomic<bool> stopping_{false};
  std::uint32_t quiet_ticks_ = 0;

  std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<UcxWatched>> all_;
  std::thread thread_;
};

}  // namespace echelon
