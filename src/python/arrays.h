// SPDX-License-Identifier: Apache-2.0
//
// Element types and memory, between Echelon and NumPy. No copies: an array sees the memory through
// the buffer protocol and keeps its exporter, which counts the arrays alive.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include <echelon/dtype.h>
#include <echelon/tensor.h>
#include <nanobind/nanobind.h>

namespace echelon::python {

namespace nb = nanobind;

/// Calls fn.operator()<T>() for the C++ type of `dtype`.
template <class Fn>
decltype(auto) with_dtype(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kBool:
      return fn.template operator()<bool>();
    case DType::kInt8:
      return fn.template operator()<std::int8_t>();
    case DType::kInt16:
      return fn.template operator()<std::int16_t>();
    case DType::kInt32:
      return fn.template operator()<std::int32_t>();
    case DType::kInt64:
      return fn.template operator()<std::int64_t>();
    case DType::kUInt8:
      return fn.template operator()<std::uint8_t>();
    case DType::kUInt16:
      return fn.template operator()<std::uint16_t>();
    case DType::kUInt32:
      return fn.template operator()<std::uint32_t>();
    case DType::kUInt64:
      return fn.template operator()<std::uint64_t>();
    case DType::kFloat16:
      return fn.template operator()<float16>();
    case DType::kBFloat16:
      return fn.template operator()<bfloat16>();
    case DType::kFloat32:
      return fn.template operator()<float>();
    case DType::kFloat64:
      return fn.template operator()<double>();
    case DType::kNone:
      break;
  }
  throw std::logic_error("echelon: not a dtype");
}

/// What a person gives as dtype: np.float32, "float32", np.dtype(...), ml_dtypes.bfloat16,
/// "bfloat16". Raises TypeError for what is no element type, ValueError for the other byte order.
DType dtype_from(nb::handle given);
/// As NumPy has it. bfloat16: ml_dtypes' where that is installed, otherwise the text "bfloat16".
nb::object dtype_object(DType dtype);

/// Some elements in this process's memory, as Py_buffer wants them described.
struct MemoryView {
  void* data = nullptr;
  DType dtype = DType::kNone;
  bool writable = false;
  int rank = 0;
  bool contiguous = true;
  std::int64_t size = 0;  // elements
  std::array<Py_ssize_t, 8> extent{};
  std::array<Py_ssize_t, 8> stride{};  // bytes
};

template <class T>
MemoryView memory_view(const View<T>& view) {
  MemoryView memory;
  memory.data = const_cast<std::remove_const_t<T>*>(view.data());
  memory.dtype = dtype_of<T>();
  memory.writable = !std::is_const_v<T>;
  memory.rank = static_cast<int>(view.rank());
  memory.contiguous = view.contiguous();
  memory.size = static_cast<std::int64_t>(view.size());
  for (std::size_t dim = 0; dim < view.rank(); ++dim) {
    memory.extent[dim] = view.extent(dim);
    memory.stride[dim] = view.stride(dim) * static_cast<Py_ssize_t>(sizeof(T));
  }
  return memory;
}

/// Fills `buffer` for the memory of `exporter`. -1 and BufferError where `flags` ask for more than
/// the memory allows. `view` must stay where it is until the buffer is released.
int fill_buffer(Py_buffer* buffer, PyObject* exporter, MemoryView& view, int flags);

/// The array over an exporter's memory.
nb::object as_array(nb::handle exporter, DType dtype);

/// One of NumPy's integer numbers, np.int64(3).
bool is_numpy_integer(nb::handle given);

/// What `given` (anything NumPy understands, or with __dlpack__) is as a C-contiguous array of a
/// supported dtype in the machine's byte order; a copy only where it is not that already.
nb::object array_from(nb::handle given, nb::handle dtype);

}  // namespace echelon::python
