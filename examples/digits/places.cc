// SPDX-License-Identifier: Apache-2.0
#include "places.h"

#include <filesystem>
#include <string_view>
#include <system_error>

namespace echelon::digits {
namespace {

std::string find_part(std::string_view installed, const char* built) {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path part = program.parent_path().parent_path() / installed;
    if (std::filesystem::exists(part, error)) return part.string();
  }
  return built;
}

}  // namespace

std::string data_path() {
  return find_part("share/echelon/digits.csv.gz", ECHELON_DIGITS_DATA_BUILT);
}

std::string callables_path() {
  return find_part("lib/echelon/libdigits_callables.so", ECHELON_DIGITS_CALLABLES_BUILT);
}

std::string kernel_path() {
  return find_part("lib/echelon/libdigits_kernel.so", ECHELON_DIGITS_KERNEL_BUILT);
}

}  // namespace echelon::digits
