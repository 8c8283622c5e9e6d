// SPDX-License-Identifier: Apache-2.0
#include "python/benches.h"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench.h"
#include "cli/figure.h"
#include "cli/floor.h"
#include "cli/machine.h"
#include "cli/progress.h"
#include "cli/statistics.h"
#include "python/callables.h"
#include "python/interpreter.h"
#include "python/worker_object.h"

namespace echelon::python {
namespace {

namespace nb = nanobind;
using cli::Figure;
using cli::FloorMeter;
using cli::Json;
using cli::Progress;
using cli::Report;
using cli::Target;
using cli::Unit;

Unit unit_from(const std::string& name) {
  if (name == "ns") return Unit::kNanoseconds;
  if (name == "ms") return Unit::kMilliseconds;
  if (name == "us") return Unit::kMicroseconds;
  if (name == "x") return Unit::kTimes;
  if (name == "/s") return Unit::kPerSecond;
  throw nb::value_error(fmt::format("\"{}\": one of ns, us, ms, x, /s was expected", name).c_str());
}

std::optional<Target> target_from(std::optional<double> at_most, std::optional<double> at_least) {
  if (at_most.has_value()) return Target::at_most(*at_most);
  if (at_least.has_value()) return Target::at_least(*at_least);
  return std::nullopt;
}

/// With the machine, as the program's own reports of one benchmark have it.
std::string json_text(const Report& report, bool with_machine) {
  Json json = cli::to_json(report);
  if (with_machine) json["machine"] = cli::to_json(cli::this_machine());
  return json.dump(2);
}

void bind_report(nb::module_& module) {
  nb::class_<Report>(module, "_Report", "The figures of one benchmark.")
      .def(
          "__init__",
          [](Report* self, const std::string& name, const std::string& title, bool quick) {
            new (self) Report(cli::make_report(name.c_str(), title.c_str(), {.quick = quick}));
          },
          nb::arg("name"), nb::arg("title"), nb::arg("quick"))
      .def(
          "add",
          [](Report& self, std::string key, std::string what, const std::string& unit,
             std::optional<double> value, std::optional<double> at_most,
             std::optional<double> at_least) {
            self.add({std::move(key), std::move(what), unit_from(unit), value,
                      target_from(at_most, at_least)});
          },
          nb::arg("key"), nb::arg("what"), nb::arg("unit"), nb::arg("value").none(), nb::kw_only(),
          nb::arg("at_most") = nb::none(), nb::arg("at_least") = nb::none(),
          "A figure in ns, us, ms, x or /s, and its target. None: not measured.")
      .def(
          "add_floor",
          [](Report& self, const FloorMeter& floor) {
            self.figures.insert(self.figures.begin(), cli::floor_figure(floor));
          },
          nb::arg("floor"), "The first figure of every report.")
      .def(
          "note", [](Report& self, std::string text) { self.notes.push_back(std::move(text)); },
          nb::arg("text"))
      .def("text", [](const Report& self) { return cli::to_text(self); })
      .def("markdown", [](const Report& self) { return cli::to_markdown(self); })
      .def("json", json_text, nb::arg("with_machine") = false);
}

void bind_measuring(nb::module_& module) {
  nb::class_<FloorMeter>(module, "_FloorMeter",
                         "What this machine can do at best. Forks: make it before any Worker.")
      .def(nb::init<>())
      .def("round", &FloorMeter::round, nb::arg("samples") = 100)
      .def("p50", &FloorMeter::p50, "Of all samples so far, in nanoseconds.");
  nb::class_<Progress>(module, "_Progress", "One line on a terminal that says what goes on.")
      .def(nb::init<>())
      .def(
          "say", [](Progress& self, const std::string& text) { self.say(text); }, nb::arg("text"))
      .def("clear", &Progress::clear);
  module.def("_machine_text", [] { return cli::describe(cli::this_machine()); });
  module.def("_percentile", cli::percentile, nb::arg("samples"), nb::arg("percent"));
  module.def(
      "_slope",
      [](const std::vector<double>& x, const std::vector<double>& y) {
        std::vector<cli::Point> points;
        for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) points.push_back({x[i], y[i]});
        return cli::fit_line(points).slope;
      },
      nb::arg("x"), nb::arg("y"), "Of the line through these points, by least squares.");
}

}  // namespace

void bind_benches(nb::module_& module) {
  bind_report(module);
  bind_measuring(module);
  module.def(
      "_register_empty",
      [](PyWorker& worker, const std::string& name) {
        const WithoutLock without;
        return PySubHandle{worker.get().register_sub(name, [](Task&) {}), name};
      },
      nb::arg("worker"), nb::arg("name"), "Registers a C++ function that does nothing.");
}

}  // namespace echelon::python
