// SPDX-License-Identifier: Apache-2.0
//
// Keeper: the one thread of a Worker. Asleep in a single futex_waitv over its doorbell word, its
// control ring, its spawner's and its children's liveness words; wakes for what nobody else waits
// for, and drives the Worker while no caller does.
//
//   while an orchestration function runs between its submits it looks every 1 ms; so it does for
//   10 ms after the last, so that a program that calls run() in a loop does not wake it each time;
//   while anything is in flight, once a second (what it finds then is counted as a lost wake-up);
//   otherwise it sleeps until something happens: an idle Worker costs nothing.
//
// Threads: one, with every signal blocked; stop() from any other. Blocking: stop() joins.
// Fork: start after the spawner is forked.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "base/env.h"
#include "base/syscall.h"
#include "process/driver.h"
#include "shm/doorbell.h"

namespace echelon {

/// What the keeper attends to beside driving. Called on its thread.
class KeeperDuties {
 public:
  /// Appends the words to sleep on, with the values they have now.
  virtual void arm(std::vector<FutexWaiter>& words) = 0;
  /// Does what has come up. Returns when to be called again at the latest; 0: when a word changes.
  virtual MonotonicNs attend(MonotonicNs now) = 0;

 protected:
  ~KeeperDuties() = default;
};

class Keeper {
 public:
  /// All must outlive it.
  Keeper(Driver& driver, Doorbell& doorbell, KeeperDuties& duties, Env& env);
  ~Keeper() { stop(); }
  void start();
  void stop();

 private:
  void run();
  MonotonicNs wake_time(MonotonicNs asked, MonotonicNs now);
  bool sleep(MonotonicNs until);

  Driver& driver_;
  Doorbell& doorbell_;
  KeeperDuties& duties_;
  Env& env_;
  std::vector<FutexWaiter> words_;
  std::uint64_t activity_seen_ = 0;
  MonotonicNs active_until_ = 0;
  bool looking_again_ = false;  // the sleep ends with the once-a-second look
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace echelon
