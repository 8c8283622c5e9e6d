// SPDX-License-Identifier: Apache-2.0
//
// Functions with names, which the tests of late registration ship.
#include "named_functions.h"

#include <echelon/echelon.h>

#include <thread>

namespace echelon::tree_test {
namespace {

ECHELON_SUB("late add", [](Task& task) { return task.scalar<std::int64_t>(0) + 1; });
ECHELON_SUB("late twice", [](Task& task) { return task.scalar<std::int64_t>(0) * 2; });
ECHELON_SUB("late where", [](Task& task) { return Place(task.path()); });
ECHELON_SUB("late spin", [](Task& task) {
  while (!task.cancelled()) std::this_thread::yield();
});
ECHELON_ORCH("late orch where", [](Orchestrator& orch) { return Place(orch.path()); });

ECHELON_ORCH("late descend", [](Orchestrator& orch, TaskArgs& args) {
  const auto sub = args.callable<SubHandle>(0);
  const auto self = args.callable<OrchHandle>(3);
  if (orch.level() == 3) return orch.submit(sub).result<Place>();
  return orch.submit(self, Args().callable(sub).callable(self)).result<Place>();
});

}  // namespace
}  // namespace echelon::tree_test
