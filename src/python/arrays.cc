// SPDX-License-Identifier: Apache-2.0
#include "python/arrays.h"

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

namespace echelon::python {
namespace {

struct NumPy {
  nb::object asarray, ascontiguousarray, dtype, from_dlpack, integer, bfloat16;
};

/// Looked up once; kept for the life of the process.
const NumPy& numpy() {
  static const NumPy* const found = [] {
    const nb::module_ module = nb::module_::import_("numpy");
    auto names = std::make_unique<NumPy>();
    names->asarray = module.attr("asarray");
    names->ascontiguousarray = module.attr("ascontiguousarray");
    names->dtype = module.attr("dtype");
    names->integer = module.attr("integer");
    names->from_dlpack = nb::getattr(module, "from_dlpack", nb::none());
    names->bfloat16 = nb::module_::import_("echelon._src.dtypes").attr("BFLOAT16");
    return names.release();
  }();
  return *found;
}

/// Of the buffer protocol (PEP 3118). "l", not "q", as NumPy's own int64 is a long where that has
/// 64 bits. bfloat16 has none: its bits, as uint16.
const char* format_of(DType dtype) {
  static_assert(sizeof(long) == 8);
  static constexpr const char* kFormats[kDTypeLast + 1] = {"B", "?", "b", "h", "i", "l", "B",
                                                           "H", "I", "L", "e", "H", "f", "d"};
  return kFormats[static_cast<std::size_t>(dtype)];
}

DType dtype_named(std::string_view name) {
  for (std::uint8_t value = 1; value <= kDTypeLast; ++value) {
    if (to_string(static_cast<DType>(value)) == name) return static_cast<DType>(value);
  }
  return DType::kNone;
}

[[noreturn]] void raise_no_dtype(const std::string& name) {
  throw nb::type_error(
      fmt::format("dtype {}: tensors and scalars hold bool, int8 to int64, uint8 to uint64, "
                  "float16, bfloat16, float32 and float64{}",
                  name,
                  name == "object" ? "; an array of objects holds references, which mean nothing "
                                     "in another process"
                                   : "")
          .c_str());
}

}  // namespace

DType dtype_from(nb::handle given) {
  if (nb::isinstance<nb::str>(given)) {
    const DType dtype = dtype_named(nb::cast<std::string_view>(given));
    if (dtype != DType::kNone) return dtype;
  }
  const nb::object numpy_dtype = numpy().dtype(given);
  const auto name = nb::cast<std::string>(numpy_dtype.attr("name"));
  const DType dtype = dtype_named(name);
  if (dtype == DType::kNone) raise_no_dtype(name);
  if (!nb::cast<bool>(numpy_dtype.attr("isnative"))) {
    throw nb::value_error(
        fmt::format("dtype {}: its byte order is not this machine's; convert it first: "
                    "x.astype(x.dtype.newbyteorder(\"=\"))",
                    nb::cast<std::string>(numpy_dtype.attr("str")))
            .c_str());
  }
  return dtype;
}

nb::object dtype_object(DType dtype) {
  if (dtype == DType::kBFloat16) return numpy().bfloat16;
  const std::string_view name = to_string(dtype);
  return numpy().dtype(nb::str(name.data(), name.size()));
}

int fill_buffer(Py_buffer* buffer, PyObject* exporter, MemoryView& view, int flags) {
  const auto item = static_cast<Py_ssize_t>(size_of(view.dtype));
  const bool wants_strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
  if ((flags & PyBUF_WRITABLE) != 0 && !view.writable) {
    PyErr_SetString(PyExc_BufferError, "this tensor may only be read here");
    return -1;
  }
  const bool wants_order = (flags & (PyBUF_C_CONTIGUOUS & ~PyBUF_STRIDES)) != 0;
  if (!view.contiguous && (!wants_strides || wants_order)) {
    PyErr_SetString(PyExc_BufferError,
                    "this tensor is a slice and not contiguous; copy it first, or ask for strides");
    return -1;
  }
  buffer->buf = view.data;
  buffer->obj = exporter;
  Py_INCREF(exporter);
  buffer->itemsize = item;
  buffer->len = item * view.size;
  buffer->readonly = view.writable ? 0 : 1;
  buffer->ndim = view.rank;
  buffer->format = (flags & PyBUF_FORMAT) != 0 ? const_cast<char*>(format_of(view.dtype)) : nullptr;
  buffer->shape = (flags & PyBUF_ND) != 0 ? view.extent.data() : nullptr;
  buffer->strides = wants_strides ? view.stride.data() : nullptr;
  buffer->suboffsets = nullptr;
  buffer->internal = nullptr;
  return 0;
}

nb::object as_array(nb::handle exporter, DType dtype) {
  nb::object array = numpy().asarray(exporter);
  if (dtype != DType::kBFloat16 || nb::isinstance<nb::str>(numpy().bfloat16)) return array;
  return array.attr("view")(numpy().bfloat16);
}

bool is_numpy_integer(nb::handle given) {
  return nb::isinstance(given, numpy().integer);
}

nb::object array_from(nb::handle given, nb::handle dtype) {
  nb::object array;
  const bool foreign = nb::hasattr(given, "__dlpack__") && !nb::hasattr(given, "__array__") &&
                       !nb::hasattr(given, "__array_interface__");
  if (foreign && !numpy().from_dlpack.is_none()) {
    array = numpy().from_dlpack(given);
  } else {
    array = numpy().asarray(given);
  }
  if (dtype.is_none()) {
    dtype_from(array.attr("dtype"));
  } else {
    array = array.attr("astype")(dtype_object(dtype_from(dtype)), nb::arg("copy") = false);
  }
  // np.ascontiguousarray would make a scalar (rank 0) one-dimensional.
  return numpy().asarray(array, nb::arg("order") = "C");
}

}  // namespace echelon::python
