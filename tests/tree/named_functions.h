// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include <echelon/tensor.h>

namespace echelon::tree_test {

/// A path as a task's result.
struct Place {
  std::array<char, 96> path{};
  Place() = default;
  explicit Place(const std::string& text) { text.copy(path.data(), path.size() - 1); }
  std::string text() const { return path.data(); }
};

inline std::vector<float> floats(const Tensor& tensor) {
  const auto view = tensor.data<const float>();
  return {view.begin(), view.end()};
}

}  // namespace echelon::tree_test
