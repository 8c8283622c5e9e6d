// SPDX-License-Identifier: Apache-2.0
//
// echelon._src._core: the parts of the package that are C++.
#include <echelon/worker.h>
#include <nanobind/nanobind.h>
#include <nanobind/typing.h>

#include <cstdlib>
#include <span>
#include <string_view>

#include "python/arguments.h"
#include "python/benches.h"
#include "python/callables.h"
#include "python/chip_specs.h"
#include "python/failures.h"
#include "python/orchestrators.h"
#include "python/refusals.h"
#include "python/remotes.h"
#include "python/runs.h"
#include "python/shipping.h"
#include "python/tasks.h"
#include "python/tensors.h"
#include "python/workers.h"

namespace {

/// Returns where it lies: (address, bytes).
nanobind::tuple keep_private(nanobind::handle memory) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(memory.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nanobind::python_error();
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(buffer.buf),
                                         static_cast<std::size_t>(buffer.len));
  PyBuffer_Release(&buffer);
  echelon::keep_private(bytes);
  return nanobind::make_tuple(reinterpret_cast<std::uintptr_t>(bytes.data()), bytes.size());
}

void end_private(std::uintptr_t address, std::size_t bytes) {
  echelon::end_private({reinterpret_cast<const std::byte*>(address), bytes});
}

/// Whether what is left at exit is reported: a tool for this package's own tests. A program that
/// ends by an exception, or with a daemon thread, leaves objects behind and does no wrong.
bool reports_leaks() {
  const char* const set = std::getenv("ECHELON_LEAK_CHECK");
  return set != nullptr && std::string_view(set) == "1";
}

}  // namespace

NB_MODULE(_core, module) {
  nanobind::set_leak_warnings(reports_leaks());
  module.attr("VERSION") = ECHELON_VERSION;
  module.attr("T") = nanobind::type_var("T");
  module.def("_keep_private", keep_private, nanobind::arg("memory"),
             nanobind::sig("def _keep_private(memory: object) -> tuple[int, int]"));
  module.def("_end_private", end_private, nanobind::arg("address"), nanobind::arg("bytes"));
  echelon::python::bind_failures(module);
  echelon::python::bind_node_info(module);
  echelon::python::bind_callables(module);
  echelon::python::bind_tensors(module);
  echelon::python::bind_arguments(module);
  echelon::python::bind_tasks(module);
  echelon::python::bind_orchestrators(module);
  echelon::python::bind_runs(module);
  echelon::python::bind_chip_image(module);
  echelon::python::bind_chip_spec(module);
  echelon::python::bind_remote_spec(module);
  echelon::python::bind_workers(module);
  echelon::python::bind_benches(module);
  echelon::python::bind_runner(module);
  echelon::python::explain_refusals(module);
}
