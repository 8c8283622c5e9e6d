// SPDX-License-Identifier: Apache-2.0
//
// Where the demo's parts are: relative to the running program as installed, else where the build
// has them.
#pragma once

#include <string>

namespace echelon::digits {

/// share/echelon/digits.csv.gz, or the source tree's.
std::string data_path();
/// lib/echelon/libdigits_callables.so
std::string callables_path();
/// lib/echelon/libdigits_kernel.so
std::string kernel_path();

}  // namespace echelon::digits
