// SPDX-License-Identifier: Apache-2.0
#include "python/chip_specs.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <charconv>
#include <string>

#include "python/given.h"

namespace echelon::python {
namespace {

constexpr const char* kChipsExpected =
    "a number of cpu chips, or a list of \"driver:device\" and ChipSpec,";

/// "cpu", "cpu:0"
ChipSpec chip_named(nb::handle given) {
  const std::string text = text_from(given, "chips");
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, 0};
  int device = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, device);
  if (colon == 0 || error != std::errc() || stop != end || device < 0) {
    throw nb::value_error(
        fmt::format("chips: \"driver:device\" was expected, as \"cpu:0\", not {}", shown(given))
            .c_str());
  }
  return {text.substr(0, colon), device};
}

ChipSpec chip_from(nb::handle given) {
  if (nb::isinstance<nb::str>(given)) return chip_named(given);
  const auto& chip = expect<ChipSpec>(given, "chips", kChipsExpected);
  if (chip.device >= 0) return chip;
  throw nb::value_error(fmt::format("chips: {}: devices are counted from 0", shown(given)).c_str());
}

/// The first `count` of the cpu driver's.
std::vector<ChipSpec> cpu_chips(std::int64_t count) {
  constexpr std::int64_t kMost = 1 << 20;  // a Worker has fewer, and says so itself
  if (count < 0 || count > kMost) {
    throw nb::value_error(fmt::format("chips: {} of them are not possible", count).c_str());
  }
  std::vector<ChipSpec> chips;
  for (int device = 0; device < count; ++device) chips.push_back({"cpu", device});
  return chips;
}

}  // namespace

std::vector<ChipSpec> chips_from(nb::handle given) {
  if (PyIndex_Check(given.ptr()) != 0 && PyBool_Check(given.ptr()) == 0) {
    return cpu_chips(integer_from(given, "chips"));
  }
  // A text would be taken for a list of its letters.
  if (nb::isinstance<nb::str>(given) || !nb::hasattr(given, "__iter__")) {
    throw_wrong_type(given, "chips", kChipsExpected);
  }
  std::vector<ChipSpec> chips;
  for (const nb::handle chip : nb::iter(given)) chips.push_back(chip_from(chip));
  return chips;
}

void bind_chip_spec(nb::module_& module) {
  nb::class_<ChipSpec>(module, "ChipSpec",
                       R"(A chip of this machine: the driver that knows it, and its number there.

>>> ec.Worker(level=3, chips=[ec.ChipSpec("cpu", 0), "cpu:1"]).chip(1)
WorkerId(1))")
      .def(
          "__init__",
          [](ChipSpec* self, std::string driver, int device) {
            new (self) ChipSpec{std::move(driver), device};
          },
          nb::arg("driver") = "cpu", nb::arg("device") = 0)
      .def_rw("driver", &ChipSpec::driver,
              "A driver that this installation has: `python -m echelon doctor` lists them.")
      .def_rw("device", &ChipSpec::device, "0, 1, ... as the driver counts its devices.")
      .def(
          "__getstate__",
          [](const ChipSpec& self) { return std::make_tuple(self.driver, self.device); },
          nb::sig("def __getstate__(self) -> tuple[str, int]"))
      .def(
          "__setstate__",
          [](ChipSpec& self, const std::tuple<std::string, int>& state) {
            new (&self) ChipSpec{std::get<0>(state), std::get<1>(state)};
          },
          nb::sig("def __setstate__(self, state: tuple[str, int]) -> None"))
      .def("__repr__", [](const ChipSpec& self) {
        return fmt::format("ChipSpec('{}', {})", self.driver, self.device);
      });
}

}  // namespace echelon::python
