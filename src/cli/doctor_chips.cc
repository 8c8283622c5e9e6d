// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "chip/driver_loader.h"
#include "chip/image.h"
#include "cli/doctor.h"

namespace echelon::cli {
namespace {

Finding check_chip_program() {
  const auto path = find_chip_executable();
  if (path.ok()) return {Verdict::kOk, *path};
  return {Verdict::kFail, path.status().info().message,
          "it is built and installed with the library; $ECHELON_LIBEXEC may name its folder"};
}

Finding check_drivers() {
  const std::vector<std::string> names = known_drivers();
  if (names.empty()) {
    return {Verdict::kFail, "none",
            "drivers lie in lib/echelon/drivers; $ECHELON_DRIVER_PATH may name other folders"};
  }
  Finding finding{Verdict::kOk, fmt::format("{}", fmt::join(names, ", "))};
  for (const std::string& name : names) {
    const auto driver = ChipDriver::load(name);
    if (driver.ok()) continue;
    finding.verdict = Verdict::kWarn;
    finding.advice = driver.status().info().message;
  }
  return finding;
}

Finding check_compiler() {
  const auto compiler = find_compiler();
  if (compiler.ok()) return {Verdict::kOk, *compiler + " compiles chip images from source"};
  return {Verdict::kWarn, compiler.status().info().message,
          "chip images from source need a C++ compiler (apt-get install g++); others do not"};
}

Finding check_headers() {
  const auto folder = find_include_folder();
  if (folder.ok()) return {Verdict::kOk, *folder};
  return {Verdict::kWarn, folder.status().info().message,
          "chip images from source include echelon/chip_kernel.h: set $ECHELON_INCLUDE"};
}

constexpr Check kChecks[] = {
    {"Chips", "chip program", check_chip_program},
    {"Chips", "drivers", check_drivers},
    {"Chips", "compiler", check_compiler},
    {"Chips", "kernel header", check_headers},
};

}  // namespace

std::span<const Check> chip_checks() {
  return kChecks;
}

}  // namespace echelon::cli
