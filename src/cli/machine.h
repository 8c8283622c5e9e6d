// SPDX-License-Identifier: Apache-2.0
//
// What a figure was measured on.
#pragma once

#include <cstdint>
#include <string>

#include "cli/figure.h"

namespace echelon::cli {

/// "0.1.0", of the build.
std::string version_text();
/// "g++ 12.2.0".
std::string compiler_text();

struct Machine {
  std::string processor;     // model name
  std::string architecture;  // "x86_64"
  unsigned processors = 0;   // this process may use
  std::string kernel;        // "Linux 6.1.0"
  std::uint64_t memory_bytes = 0;
  std::string hypervisor;  // "virtual machine", or "" on bare metal
  std::string huge_pages;  // transparent huge pages: "madvise"
  double load = 0;         // runnable processes, mean of the last minute
  std::string version, build, compiler;
};
Machine this_machine();

Json to_json(const Machine& machine);
/// One line: "AMD EPYC, 2 processors, 23.5 GiB, Linux 6.1.0 x86_64 (virtual machine)".
std::string describe(const Machine& machine);

/// "23.5 GiB", "512 KiB".
std::string format_bytes(std::uint64_t bytes);

}  // namespace echelon::cli
