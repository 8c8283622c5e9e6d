// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/export.h>

namespace echelon {

namespace detail {
struct ChipImageState;
}

/// A kernel and the code that holds it. A value; copies share the bytes.
class ECHELON_API ChipImage {
 public:
  /// The kernel `kernel` of the shared object at `path`, which is read now. Throws InvalidArgument
  /// naming the file and, where only the name is wrong, the kernels it has.
  static ChipImage from_file(const std::string& path, std::string_view kernel);
  /// C++ source, compiled now into a shared object ($ECHELON_CXX, else c++, g++, clang++). Throws
  /// InvalidArgument with the compiler's own words, or saying which compilers were looked for.
  static ChipImage from_source(std::string_view source, std::string_view kernel,
                               const std::vector<std::string>& flags = {});

  /// The name of the kernel.
  const std::string& kernel() const;
  /// The library's own.
  const std::shared_ptr<const detail::ChipImageState>& state() const { return state_; }

 private:
  explicit ChipImage(std::shared_ptr<const detail::ChipImageState> state)
      : state_(std::move(state)) {}
  std::shared_ptr<const detail::ChipImageState> state_;
};

}  // namespace echelon
