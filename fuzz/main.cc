// SPDX-License-Identifier: Apache-2.0
//
// echelon_fuzz, by libFuzzer; `./dev fuzz` runs it.
//   echelon_fuzz --list                          the targets, a line each
//   echelon_fuzz --target=NAME --seeds=FOLDER    writes its seeds there
//   echelon_fuzz --target=NAME ARGUMENTS         libFuzzer with its own arguments
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "target.h"

namespace {

const echelon::fuzz::Target* target = nullptr;

[[noreturn]] void list() {
  for (const auto& one : echelon::fuzz::all_targets()) std::printf("%s\t%s\n", one.name, one.about);
  std::exit(0);
}

[[noreturn]] void write_seeds(const std::string& folder) {
  int number = 0;
  for (const auto& seed : target->seeds()) {
    std::ofstream file(folder + "/seed" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()),
               static_cast<std::streamsize>(seed.size()));
    if (!file.flush()) {
      std::fprintf(stderr, "cannot write to %s\n", folder.c_str());
      std::exit(2);
    }
  }
  std::exit(0);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  std::string seeds;
  for (int i = 1; i < *count; ++i) {
    const std::string argument = (*arguments)[i];
    if (argument == "--list") list();
    if (argument.starts_with("--seeds=")) seeds = argument.substr(8);
    if (!argument.starts_with("--target=")) continue;
    target = echelon::fuzz::find_target(argument.substr(9));
  }
  if (target == nullptr) {
    std::fprintf(stderr, "no such target; --target=NAME with a name of --list\n");
    std::exit(2);
  }
  if (!seeds.empty()) write_seeds(seeds);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target->run(std::as_bytes(std::span(data, size)));
  return 0;
}
