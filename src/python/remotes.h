// SPDX-License-Identifier: Apache-2.0
//
// ec.RemoteWorkerSpec, and what a Worker does with those on other hosts.
#pragma once

#include <echelon/orchestrator.h>
#include <nanobind/nanobind.h>

#include "python/worker_object.h"

namespace echelon::python {

/// "copy" or "refuse". Raises TypeError, ValueError.
Stage stage_from(nb::handle given);

void bind_remote_spec(nb::module_& module);
/// add_remote_worker(), remote_tensor(), copy_to(), copy_from()
void bind_remotes(nb::class_<PyWorker>& worker);

}  // namespace echelon::python
