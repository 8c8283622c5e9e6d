// SPDX-License-Identifier: Apache-2.0
//
// The build id: which sources this binary was made from. Processes of one tree must be of one
// build, as they share memory laid out by plain structs; a chip, which is exec'd, is asked for its
// id first.
//
// Threads: any. Fork: any. Made by cmake/EchelonBuildId.cmake.
#pragma once

#include <string_view>

namespace echelon {

/// 64 lower-case hexadecimal digits: SHA-256 over the path and content of every file under src/ and
/// include/, tests left out. Equal for two build folders of one tree. Valid for ever.
std::string_view build_id();

}  // namespace echelon
