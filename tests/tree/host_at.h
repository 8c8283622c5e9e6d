// SPDX-License-Identifier: Apache-2.0
//
// A host (level 3) at some depth of a tree, so that the same test runs where the host is the root
// and where it is a process below other processes.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <echelon/echelon.h>

namespace echelon::tree_test {

class HostAt {
 public:
  /// Works on the host's own Orchestrator, with the tensors that run() was given. Runs in the
  /// host's process: what it captured is as it was at start().
  using Body = std::function<void(Orchestrator&, const std::vector<Tensor>&)>;

  /// `levels_above` 0: the host is the root. Workers above are called "w4", "w5" and "w6".
  HostAt(int levels_above, WorkerOptions host);

  /// A body to run later; before start().
  std::size_t add(Body body);
  void start() { root().start(); }
  /// Runs a body at the host. Tensors are given as INOUT.
  Run submit(std::size_t body, const std::vector<Tensor>& tensors = {},
             const RunOptions& options = {});
  void run(std::size_t body, const std::vector<Tensor>& tensors = {},
           const RunOptions& options = {}) {
    submit(body, tensors, options).wait();
  }

  Worker& root() { return workers_.back(); }
  Worker& host() { return workers_.front(); }
  /// "w5/w4/host0"
  std::string host_path() { return host().path(); }

 private:
  std::vector<Worker> workers_;  // from the host up
  std::shared_ptr<std::vector<Body>> bodies_ = std::make_shared<std::vector<Body>>();
  std::shared_ptr<OrchHandle> descend_ = std::make_shared<OrchHandle>();
};

}  // namespace echelon::tree_test
