// SPDX-License-Identifier: Apache-2.0
//
// What a Worker tells a chip's process at birth: its driver, its device, how many images will be
// pushed before it is ready, and the build that it must be of. On the command line, after what the
// spawner puts there (process/child_boot.h).
//
//   spec.arguments = chip_arguments({.chip = {"cpu", 0}, .image_count = 2});   // ChildSpec
//   ... after spawn(): push_image(edge, slot, image, wait) twice, then any pools (image_push.h)
//
// Processes: both. Threads: safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/build_id.h"
#include "base/status.h"
#include "chip/device.h"

namespace echelon {

struct ChipStart {
  ChipDescription chip;
  std::uint32_t image_count = 0;
  std::string build_id = std::string(echelon::build_id());
};

std::vector<std::string> chip_arguments(const ChipStart& start);

/// Errors: kBadArgument, with the argument that is wrong.
Result<ChipStart> parse_chip_arguments(std::span<const std::string> arguments);

/// Errors: kStartFailed where `start` was made by another build than this; names both.
Status check_build_id(const ChipStart& start);

}  // namespace echelon
