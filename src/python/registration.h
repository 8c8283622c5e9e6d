// SPDX-License-Identifier: Apache-2.0
//
// ec.Worker's register_*() and unregister().
#pragma once

#include <nanobind/nanobind.h>

#include "python/worker_object.h"

namespace echelon::python {

void bind_registration(nb::class_<PyWorker>& worker);

}  // namespace echelon::python
