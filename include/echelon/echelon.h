// SPDX-License-Identifier: Apache-2.0
//
// Everything a program needs.
#pragma once

#include <echelon/args.h>
#include <echelon/call_config.h>
#include <echelon/callable.h>
#include <echelon/chip_image.h>
#include <echelon/error.h>
#include <echelon/handles.h>
#include <echelon/orchestrator.h>
#include <echelon/remote.h>
#include <echelon/run.h>
#include <echelon/task.h>
#include <echelon/tensor.h>
#include <echelon/worker.h>
