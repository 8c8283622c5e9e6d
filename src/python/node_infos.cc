// SPDX-License-Identifier: Apache-2.0
#include <echelon/chip_image.h>
#include <echelon/node_info.h>
#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>

#include "python/given.h"
#include "python/interpreter.h"
#include "python/workers.h"

namespace echelon::python {
namespace {

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

void bind_node_info(nb::module_& module) {
  nb::class_<NodeInfo>(module, "NodeInfo", "What one process of the tree is and has done.")
      .def_ro("name", &NodeInfo::name, "\"host1\".")
      .def_ro("path", &NodeInfo::path, "\"pod0/host1\".")
      .def_ro("kind", &NodeInfo::kind, "\"worker\", \"sub\" or \"chip\".")
      .def_ro("level", &NodeInfo::level, "2 to 6; 1 for sub-workers.")
      .def_ro("state", &NodeInfo::state, "\"ready\", \"down: killed by signal 9 (SIGKILL)\", ...")
      .def_ro("host", &NodeInfo::host, "Name of its machine, where that is not the root's.")
      .def_ro("pid", &NodeInfo::pid, "0 where there is no process.")
      .def_ro("tasks", &NodeInfo::tasks, "Callables run here.")
      .def_ro("tasks_failed", &NodeInfo::tasks_failed,
              "Of the tasks run here, how many raised or were refused.")
      .def_prop_ro(
          "busy", [](const NodeInfo& self) { return seconds(self.busy); },
          "Seconds inside callables.")
      .def_prop_ro(
          "up", [](const NodeInfo& self) { return seconds(self.up); },
          "Seconds since it was started.")
      .def_ro("bytes_in", &NodeInfo::bytes_in, "Bytes of tensors given to it to read.")
      .def_ro("bytes_out", &NodeInfo::bytes_out, "Bytes of tensors given to it to write.")
      .def_ro("lost_wakeups", &NodeInfo::lost_wakeups, "0 unless there is a bug.")
      .def_ro("children", &NodeInfo::children,
              "In the order in which they were given: sub-workers, chips, Workers.")
      .def("__repr__", [](const NodeInfo& self) {
        return fmt::format("<NodeInfo {}: {}>", self.path, self.state);
      });
}

void bind_chip_image(nb::module_& module) {
  nb::class_<ChipImage>(module, "ChipImage", "A chip kernel and the code that holds it.")
      .def_static(
          "from_file",
          [](nb::handle path, const std::string& kernel) {
            const std::string text = path_from(path, "path");
            return ChipImage::from_file(text, kernel);
          },
          nb::arg("path"), nb::arg("kernel"),
          nb::sig("def from_file(path: str | os.PathLike[str], kernel: str) -> ChipImage"),
          "The kernel of a shared object, which is read now. Raises InvalidArgument naming the "
          "file and, where only the name is wrong, the kernels it has."
          R"(

>>> ec.ChipImage.from_file("absent.so", "fill")
Traceback (most recent call last):
...
echelon._src.errors.InvalidArgument: ...absent.so...)")
      .def_static(
          "from_source",
          [](const std::string& source, const std::string& kernel,
             const std::vector<std::string>& flags) {
            const WithoutLock without;
            return ChipImage::from_source(source, kernel, flags);
          },
          nb::arg("source"), nb::arg("kernel"), nb::arg("flags") = std::vector<std::string>(),
          "C++ source, compiled now ($ECHELON_CXX, else c++, g++, clang++). Raises "
          "InvalidArgument with the compiler's own words."
          R"(

>>> source = '''#include <echelon/chip_kernel.h>
... ECHELON_KERNEL(nothing) {}
... '''
>>> ec.ChipImage.from_source(source, "nothing")
<ChipImage nothing>)")
      .def("__repr__",
           [](const ChipImage& self) { return fmt::format("<ChipImage {}>", self.kernel()); });
}

}  // namespace echelon::python
