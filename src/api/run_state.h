// SPDX-License-Identifier: Apache-2.0
//
// RunState: what is known of a run, for as long as anybody holds its handle.
//
// Threads: ended() is called once, by the driving thread; everything else from any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/fork_generation.h"
#include "base/ids.h"
#include "base/status.h"

namespace echelon::detail {

class Node;
class RunContext;

class RunState {
 public:
  RunState() = default;
  explicit RunState(std::weak_ptr<Node> node) : node_(std::move(node)) {}

  // --- the runtime's side ---------------------------------------------------------------------
  void begun(RunId run) { run_ = run; }
  /// The function's context, until the run ends.
  std::shared_ptr<RunContext> context;
  RunId run() const { return run_; }
  void set_result(std::vector<std::byte> bytes) { result_ = std::move(bytes); }
  /// Keeps the state alive while the engine knows it by address; dropped by ended()'s caller.
  void keep(std::shared_ptr<RunState> self) { self_ = std::move(self); }
  std::shared_ptr<RunState> let_go() { return std::move(self_); }
  void set_ended(Status status) {
    status_ = std::move(status);
    // pairs with ended(): publishes status_ and result_
    ended_.store(true, std::memory_order_release);
  }

  // --- the handle's side ------------------------------------------------------------------------
  // pairs with set_ended
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  /// REQUIRES: ended()
  const Status& status() const { return status_; }
  const std::vector<std::byte>& result() const { return result_; }
  std::shared_ptr<Node> node() const { return node_.lock(); }
  bool in_forked_copy() const { return mark_.in_forked_copy(); }

 private:
  std::weak_ptr<Node> node_;
  const ForkMark mark_;
  RunId run_;
  std::shared_ptr<RunState> self_;
  std::vector<std::byte> result_;
  Status status_;
  std::atomic<bool> ended_{false};
};

}  // namespace echelon::detail
