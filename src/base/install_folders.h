// SPDX-License-Identifier: Apache-2.0
//
// Where this installation, or this build folder, lies: what is loaded or started at run time is
// found from the place of the code itself (cmake/EchelonInstall.cmake).
//
// Threads: safe. Blocking: looks at the file system.
#pragma once

#include <filesystem>
#include <vector>

namespace echelon {

/// The folder of the library or executable that holds this code; empty if that is not known.
std::filesystem::path own_folder();

/// What may be the prefix of it: above lib/, bin/, test/, libexec/echelon/ or a library folder with
/// the machine's name in it (lib/x86_64-linux-gnu).
std::vector<std::filesystem::path> install_prefixes();

/// Folders where lib/FOLDER may be, most likely first.
std::vector<std::filesystem::path> library_folders(const char* folder);

}  // namespace echelon
