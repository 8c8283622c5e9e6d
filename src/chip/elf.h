// SPDX-License-Identifier: Apache-2.0
//
// Just enough of ELF to say, without running a line of it, whether a file is a shared object for
// this machine and which functions it exports. Format: System V ABI, chapters 4 and 5.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace echelon {

/// Names of the defined, global, default-visibility functions in .dynsym, sorted. Every offset is
/// checked; no input makes it read outside `bytes`. Errors (kImage): what the file is instead.
Result<std::vector<std::string>> exported_functions(std::span<const std::byte> bytes);

}  // namespace echelon
