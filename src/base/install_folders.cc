// SPDX-License-Identifier: Apache-2.0
#include "base/install_folders.h"

#include <dlfcn.h>

#include <system_error>

namespace echelon {

namespace fs = std::filesystem;

fs::path own_folder() {
  Dl_info info{};
  std::error_code error;
  // A static executable's own name may be relative to where it was started; /proc knows better.
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (::dladdr(reinterpret_cast<const void*>(&own_folder), &info) != 0 &&
      info.dli_fname != nullptr && info.dli_fname[0] == '/') {
    const fs::path real = fs::canonical(info.dli_fname, error);
    if (!error) return real.parent_path();
  }
  return self.parent_path();
}

std::vector<fs::path> install_prefixes() {
  const fs::path folder = own_folder();
  return {folder.parent_path(), folder.parent_path().parent_path(), folder};
}

std::vector<fs::path> library_folders(const char* folder) {
  std::vector<fs::path> folders = {own_folder() / folder};  // the code is in lib/ itself
  for (const fs::path& prefix : install_prefixes()) folders.push_back(prefix / "lib" / folder);
  return folders;
}

}  // namespace echelon
