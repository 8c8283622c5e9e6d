// SPDX-License-Identifier: Apache-2.0
//
// Running the C++ compiler: source text in, the bytes of a shared object out. Everything the
// compiler writes lies in a private folder under $TMPDIR that is gone when the call returns.
//
// Threads: safe. Blocking: as long as the compiler takes. Fork: uses posix_spawn alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chip/image.h"

namespace echelon {

/// A compiler's command: its path and the arguments it was named with.
struct CompilerCommand {
  std::string path;
  std::vector<std::string> arguments;
};

/// $ECHELON_CXX if set (and nothing else then), else the first of $CXX, c++, g++, clang++ in $PATH.
/// Errors (kImage): what was looked for.
Result<CompilerCommand> find_compiler_command();

/// Errors (kImage): no compiler, or its output; kSystem.
Result<std::vector<std::byte>> compile_shared_object(std::string_view source,
                                                     const CompileOptions& options);

}  // namespace echelon
