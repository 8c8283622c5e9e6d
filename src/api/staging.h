// SPDX-License-Identifier: Apache-2.0
//
// Staging: a task of a remote Worker that was given tensors of this host, with Stage::kCopy. It
// becomes a few tasks of the graph: copies down, the task on tensors of the remote Worker, copies
// back; tags order them like any others.
//
//   tag                     down                          back
//   input, no_dep           unless a current copy is there  -
//   inout, output_existing  unless a current copy is there  yes
//   output                  never                           yes
//
// Threads: the one that runs the orchestration function. Blocking: where a copy needs new remote
// memory, a round trip.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <echelon/orchestrator.h>

#include "api/run_context.h"

namespace echelon::detail {

class Node;

class Staging {
 public:
  /// Where `args` are to be copied for a task of `kind`; nullopt: the task needs no staging.
  static std::optional<ChildIndex> worker_for(Node& node, TaskKind kind, const Args& args,
                                              const SubmitOptions& options);

  Staging(RunContext& run, ChildIndex worker, const SubmitOptions& options)
      : run_(run), worker_(worker), options_(options) {}

  /// Submits all of it. The handle ends with the last copy back; its outputs are local.
  TaskHandle submit(const CallableRef& ref, const Args& args);
  /// Its two halves, once each. The arguments for a task of the remote Worker: copies down are
  /// submitted.
  Args send(const Args& args);
  /// What that task, `task`, writes is copied back.
  TaskHandle bring_back(const TaskHandle& task);

 private:
  /// A local tensor that the task writes, and its copy.
  struct Back {
    Tensor local;
    Tensor copy;
  };

  Tensor stage(const Tensor& given, detail::ArgTag tag);
  Tensor copy_of(const Tensor& local, bool down);
  Tensor remote_like(const Tensor& local);
  void check_apart(const Args& args) const;
  TaskHandle copy_back(const Back& back);

  RunContext& run_;
  const ChildIndex worker_;
  const SubmitOptions& options_;
  std::vector<Back> back_;
  std::shared_ptr<std::vector<Tensor>> outputs_;
};

}  // namespace echelon::detail
