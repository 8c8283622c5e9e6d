// SPDX-License-Identifier: Apache-2.0
#include "host_at.h"

#include <string>
#include <utility>

namespace echelon::tree_test {
namespace {

void pass_on(Orchestrator& orch, OrchHandle descend, const std::vector<Tensor>& tensors,
             std::uint64_t body) {
  Args args;
  for (const Tensor& tensor : tensors) args.inout(tensor);
  orch.submit(descend, args.scalar(body));
}

std::vector<Tensor> handles_of(const TaskArgs& args) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < args.tensor_count(); ++i) tensors.push_back(args.handle(i));
  return tensors;
}

}  // namespace

HostAt::HostAt(int levels_above, WorkerOptions host) {
  workers_.reserve(static_cast<std::size_t>(levels_above) + 1);
  workers_.emplace_back(std::move(host));
  for (int level = 4; level < 4 + levels_above; ++level) {
    Worker above({.level = level, .name = "w" + std::to_string(level)});
    above.add_worker(workers_.back());
    workers_.push_back(std::move(above));
  }
  *descend_ = root().register_orch(
      "descend", [descend = descend_, bodies = bodies_](Orchestrator& orch, TaskArgs& args) {
        const auto body = args.scalar<std::uint64_t>(0);
        if (orch.level() > 3) return pass_on(orch, *descend, handles_of(args), body);
        bodies->at(body)(orch, handles_of(args));
      });
}

std::size_t HostAt::add(Body body) {
  bodies_->push_back(std::move(body));
  return bodies_->size() - 1;
}

Run HostAt::submit(std::size_t body, const std::vector<Tensor>& tensors,
                   const RunOptions& options) {
  return root().submit(
      [&](Orchestrator& orch) {
        if (orch.level() > 3) return pass_on(orch, *descend_, tensors, body);
        bodies_->at(body)(orch, tensors);
      },
      options);
}

}  // namespace echelon::tree_test
