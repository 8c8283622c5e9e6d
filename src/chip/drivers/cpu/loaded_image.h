// SPDX-License-Identifier: Apache-2.0
//
// LoadedImage: a shared object loaded from bytes, through a memfd.
//
// glibc knows a library by the path it was opened with, and opening /proc/self/fd/N again returns
// the library that N meant before, if that is still loaded. So N stays reserved until the library
// is gone; and for ever where it cannot go (a library with unique symbols, of which every C++
// inline variable makes one, is never unloaded).
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <echelon/chip_kernel.h>

namespace echelon::cpu {

class LoadedImage {
 public:
  /// Null where it does not load; `why` then says why.
  static std::unique_ptr<LoadedImage> load(std::span<const std::byte> bytes, std::string& why);
  ~LoadedImage();
  LoadedImage(const LoadedImage&) = delete;
  LoadedImage& operator=(const LoadedImage&) = delete;

  /// Null where there is no such symbol.
  echelon_kernel_function find(const char* name) const;

 private:
  LoadedImage(int descriptor, void* handle) : descriptor_(descriptor), handle_(handle) {}

  int descriptor_;
  void* handle_;
};

}  // namespace echelon::cpu
