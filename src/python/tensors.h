// SPDX-License-Identifier: Apache-2.0
//
// ec.Tensor: a handle, and its elements through the buffer protocol where they can be touched.
//
// Lifetime. An array keeps the handle that it came from, and so the memory. free() is refused while
// arrays live. A tensor lent to an orchestration function is stale when that function has
// returned, and arrays of it may not be kept: the function's task fails if one is.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include <echelon/tensor.h>
#include <nanobind/nanobind.h>

#include "python/arrays.h"

namespace echelon::python {

/// How many arrays see a buffer; shared by the buffer's handles in this process.
struct Exports {
  std::atomic<int> count{0};
};

struct PyTensor {
  explicit PyTensor(Tensor given, std::shared_ptr<Exports> shared = std::make_shared<Exports>())
      : tensor(std::move(given)), exports(std::move(shared)) {}

  /// The elements: to be written where that is allowed. Throws as Tensor::data().
  MemoryView memory() const;

  Tensor tensor;
  std::shared_ptr<Exports> exports;
};

/// A shape from an int or a sequence of ints. Raises TypeError.
Shape shape_from(nb::handle given);
/// "(2, 3)"
std::string shape_text(const Shape& shape);

void bind_tensors(nb::module_& module);

}  // namespace echelon::python
