// SPDX-License-Identifier: Apache-2.0
//
// libremote_callables.so: what runs on the other host. It is sent there, so that host needs
// nothing but a daemon that allows libraries.
#include <echelon/echelon.h>

#include "steps.h"

namespace {

using echelon::Args;
using echelon::Orchestrator;
using echelon::Task;
using echelon::TaskArgs;

// Runs in the sub-worker: doubles x, and returns the sum.
ECHELON_SUB("double", [](Task& task) {
  Steps steps;
  task.path().copy(steps.sub_worker.data(), steps.sub_worker.size() - 1);
  for (float& value : task.tensor<float>(0)) steps.sum += value *= 2.0f;
  return steps;
});

// Runs in the remote Worker: its own sub-worker is to do it.
ECHELON_ORCH("on the host", [](Orchestrator& orch, TaskArgs& args) {
  auto steps = orch.submit(orch.find_sub("double"), Args().inout(args.handle(0))).result<Steps>();
  orch.path().copy(steps.orchestrator.data(), steps.orchestrator.size() - 1);
  return steps;
});

}  // namespace
