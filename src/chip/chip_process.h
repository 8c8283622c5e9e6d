// SPDX-License-Identifier: Apache-2.0
//
// The chip's process: gets its driver, its device and the images it was told of, then runs tasks
// (chip_worker.h) until it is told to end. A single chip used alone (level 2) runs in the same.
//
// Processes: exec'd by a spawner; see process/child_boot.h for what it is handed. Threads: executor
// and control (process/child_connection.h), and the driver's. Blocking: until the end. Fork: never.
#pragma once

#include "base/status.h"
#include "process/child_boot.h"

namespace echelon {

/// The whole life of a chip. Returns its exit code. What keeps it from starting is in the channel's
/// last words; where even that cannot be (another build), on standard error.
int run_chip(ChildBoot boot);

}  // namespace echelon
