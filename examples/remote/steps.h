// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>

/// What the orchestration function returns: who did what, and the sum that came out.
struct Steps {
  std::array<char, 64> orchestrator{};
  std::array<char, 64> sub_worker{};
  double sum = 0;
};
