// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

namespace echelon {

/// How a callable is to be run; crosses every level unchanged unless a submit gives another one.
struct CallConfig {
  /// Launch grid of a chip kernel: the number of blocks in x, y, z; each at least 1.
  std::array<std::uint32_t, 3> grid{1, 1, 1};
  /// Cores of the chip to spread the grid over; 0 means all of them.
  std::uint32_t cores = 0;
  /// Profiling flags, for drivers and tools; the runtime passes them on.
  std::uint32_t profiling = 0;
  /// The name of the submitting scope, "/"-separated; set by the runtime.
  std::string scope;
  /// The user's own keys and values; at most 16 KiB in all.
  std::map<std::string, std::string> values;

  /// Equal in every field.
  friend bool operator==(const CallConfig&, const CallConfig&) = default;
};

}  // namespace echelon
