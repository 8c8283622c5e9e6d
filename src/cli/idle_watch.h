// SPDX-License-Identifier: Apache-2.0
//
// What processes use of the processor while nobody gives them anything to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/figure.h"

namespace echelon::cli {

struct ProcessUse {
  std::int64_t pid = 0;
  std::string name;
  std::uint64_t before_ns = 0;
  double cpu_percent = 0;  // of one core
};

/// Sleeps for `duration` and fills in what each process has used meanwhile.
void watch_idle(std::vector<ProcessUse>& processes, std::chrono::milliseconds duration);

/// REQUIRES: not empty.
const ProcessUse& busiest(const std::vector<ProcessUse>& processes);

/// [{"name", "pid", "cpu_percent"}]
Json to_json(const std::vector<ProcessUse>& processes);

}  // namespace echelon::cli
