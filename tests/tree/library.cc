// SPDX-License-Identifier: Apache-2.0
//
// A library of named functions, as a user would build one.
#include <echelon/echelon.h>

#include "named_functions.h"

namespace {

using echelon::tree_test::Place;

ECHELON_SUB("library where", [](echelon::Task& task) { return Place("library: " + task.path()); });
ECHELON_ORCH("library orch", [](echelon::Orchestrator& orch) { return orch.level(); });

}  // namespace
