// SPDX-License-Identifier: Apache-2.0
#include "python/tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/failures.h"
#include "python/given.h"
#include "python/interpreter.h"

namespace echelon::python {
namespace {

/// One buffer handed out: the view must outlive it, and the handle, too.
struct Export {
  MemoryView view;
  std::shared_ptr<Exports> exports;
};

void set_buffer_error() {
  // The translators run for calls alone; a slot raises by itself.
  try {
    throw;
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const nb::builtin_exception& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_BufferError, error.what());
  }
}

int get_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  buffer->obj = nullptr;
  try {
    const PyTensor& tensor = made<PyTensor>(self);
    auto made = std::make_unique<Export>(Export{tensor.memory(), tensor.exports});
    if (fill_buffer(buffer, self, made->view, flags) != 0) return -1;
    made->exports->count.fetch_add(1, std::memory_order_relaxed);
    buffer->internal = made.release();
    return 0;
  } catch (...) {
    set_buffer_error();
    return -1;
  }
}

void release_buffer(PyObject* /*self*/, Py_buffer* buffer) {
  const std::unique_ptr<Export> done(static_cast<Export*>(buffer->internal));
  done->exports->count.fetch_sub(1, std::memory_order_relaxed);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                       {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                       {0, nullptr}};

void free_tensor(PyTensor& self) {
  const int alive = self.exports->count.load(std::memory_order_relaxed);
  if (alive != 0) {
    throw_wrong_state(fmt::format(
        "free: {} array(s) of {} are alive; drop them first (del), or let the last handle go",
        alive, self.tensor.describe()));
  }
  self.tensor.free();
}

nb::object array_of(nb::handle_t<PyTensor> self) {
  const PyTensor& tensor = made<PyTensor>(self);
  (void)tensor.memory();  // raises what the buffer protocol would only say as BufferError
  return as_array(self, tensor.tensor.dtype());
}

/// self[a:b, c:d]: slices with step 1, for as many dimensions as are given.
PyTensor sliced(const PyTensor& self, nb::handle index) {
  const nb::tuple parts =
      nb::isinstance<nb::tuple>(index) ? nb::borrow<nb::tuple>(index) : nb::make_tuple(index);
  if (parts.size() > self.tensor.rank()) {
    throw nb::index_error(
        fmt::format("{} slices of a tensor of rank {}", parts.size(), self.tensor.rank()).c_str());
  }
  Tensor result = self.tensor;
  for (std::size_t dim = 0; dim < parts.size(); ++dim) {
    if (!PySlice_Check(parts[dim].ptr())) {
      throw nb::type_error(
          "a Tensor is indexed by slices (t[0:4, :]); for elements take t.array()[i]");
    }
    Py_ssize_t begin = 0, end = 0, step = 0;
    if (PySlice_Unpack(nb::object(parts[dim]).ptr(), &begin, &end, &step) < 0) {
      throw nb::python_error();
    }
    if (step != 1) throw nb::index_error("a Tensor's slices have step 1; t.array() takes others");
    PySlice_AdjustIndices(self.tensor.extent(dim), &begin, &end, step);
    result = result.slice(dim, begin, std::max(begin, end));
  }
  return PyTensor(std::move(result), self.exports);
}

/// What NumPy asks when the buffer protocol has refused: the error is told here.
nb::object numpy_array(nb::handle_t<PyTensor> self, nb::handle dtype, nb::handle copy) {
  return nb::module_::import_("numpy").attr("array")(array_of(self), nb::arg("dtype") = dtype,
                                                     nb::arg("copy") = copy);
}

nb::object dlpack_array(nb::handle_t<PyTensor> self) {
  const PyTensor& tensor = made<PyTensor>(self);
  const MemoryView memory = tensor.memory();
  std::array<std::size_t, 8> shape{};
  std::array<std::int64_t, 8> strides{};
  for (int dim = 0; dim < memory.rank; ++dim) {
    shape[static_cast<std::size_t>(dim)] = static_cast<std::size_t>(memory.extent[dim]);
    strides[static_cast<std::size_t>(dim)] =
        memory.stride[dim] / static_cast<std::int64_t>(size_of(memory.dtype));
  }
  // Its capsule keeps a buffer of ours, so that it is counted like an array.
  const nb::object keeper = nb::steal(PyMemoryView_FromObject(self.ptr()));
  if (!keeper.is_valid()) throw nb::python_error();
  const auto type = with_dtype(memory.dtype, []<class T>() {
    if constexpr (std::is_same_v<T, float16>)
      return nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float), 16, 1};
    else if constexpr (std::is_same_v<T, bfloat16>)
      return nb::dlpack::dtype{static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat), 16, 1};
    else
      return nb::dtype<T>();
  });
  if (memory.writable) {
    return nb::cast(nb::ndarray<nb::array_api>(memory.data, memory.rank, shape.data(), keeper,
                                               strides.data(), type));
  }
  return nb::cast(nb::ndarray<nb::array_api, nb::ro>(memory.data, memory.rank, shape.data(), keeper,
                                                     strides.data(), type));
}

nb::tuple shape_tuple(const PyTensor& self) {
  nb::list extents;
  for (const std::int64_t extent : self.tensor.shape()) extents.append(extent);
  return nb::tuple(extents);
}

[[noreturn]] nb::object refuse_pickle(const PyTensor& self) {
  throw nb::type_error(
      fmt::format("a Tensor cannot be pickled ({}): it is a handle of memory; give it to a task "
                  "as an argument, or pickle t.array()",
                  self.tensor.describe())
          .c_str());
}

using TensorClass = nb::class_<PyTensor>;

/// What makes NumPy's and others' arrays of it.
void bind_array_protocols(TensorClass& tensor) {
  tensor
      .def("array", array_of, nb::sig("def array(self) -> numpy.typing.NDArray[typing.Any]"),
           R"(The elements as a NumPy array, without a copy; read-only where the tensor is lent so.

Raises InvalidArgument for a chip's tensor (copy it to a host tensor first) and StaleHandle once
the memory is gone.

>>> host.tensor(np.arange(3)).array()
array([0, 1, 2]))")
      .def("__array__", numpy_array, nb::arg("dtype") = nb::none(), nb::kw_only(),
           nb::arg("copy") = nb::none(),
           nb::sig("def __array__(self, dtype: typing.Any = None, *, copy: bool | None = None) -> "
                   "numpy.typing.NDArray[typing.Any]"))
      .def(
          "__dlpack__",
          [](nb::handle_t<PyTensor> self, nb::kwargs options) {
            return dlpack_array(self).attr("__dlpack__")(**options);
          },
          nb::sig("def __dlpack__(self, **options: typing.Any) -> typing.Any"))
      .def(
          "__dlpack_device__", [](const PyTensor&) { return nb::make_tuple(1, 0); },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"));
}

}  // namespace

MemoryView PyTensor::memory() const {
  return with_dtype(tensor.dtype(), [this]<class T>() {
    return tensor.writable() ? memory_view(tensor.data<T>()) : memory_view(tensor.data<const T>());
  });
}

Shape shape_from(nb::handle given) {
  Shape shape;
  if (PyIndex_Check(given.ptr()) != 0) {
    shape.push_back(integer_from(given, "shape"));
    return shape;
  }
  constexpr const char* kExpected = "an int or a tuple of ints";
  if (!nb::hasattr(given, "__iter__")) throw_wrong_type(given, "shape", kExpected);
  for (const nb::handle extent : nb::iter(given)) {
    if (PyIndex_Check(extent.ptr()) == 0) {
      throw nb::type_error(
          fmt::format("a shape is an int or a tuple of ints, not {}", shown(given)).c_str());
    }
    shape.push_back(integer_from(extent, "shape"));
  }
  return shape;
}

std::string shape_text(const Shape& shape) {
  return fmt::format("({}{})", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

void bind_tensors(nb::module_& module) {
  TensorClass tensor(module, "Tensor", nb::type_slots(slots),
                     R"(A handle of memory in the tree, with dtype and shape.

Made by Worker.tensor(), Worker.chip_tensor(), Orchestrator.alloc() and as a task's output. Copies
and slices share the memory; it is given back with the last handle, array and task that uses it.
np.asarray(t), memoryview(t) and np.from_dlpack(t) see the elements without a copy.

>>> t = ec.Worker(level=3).tensor(np.arange(6).reshape(2, 3))
>>> t.shape, t.dtype, t.nbytes
((2, 3), dtype('int64'), 48)
>>> t[:, 1:].array()[0, 0] = 7  # a view
>>> t.array()
array([[0, 7, 2],
       [3, 4, 5]]))");
  bind_array_protocols(tensor);
  tensor
      .def_prop_ro(
          "dtype", [](const PyTensor& self) { return dtype_object(self.tensor.dtype()); },
          nb::sig("def dtype(self) -> numpy.dtype[typing.Any]"),
          "Element type, a numpy.dtype (bfloat16 without ml_dtypes: the text \"bfloat16\").")
      .def_prop_ro("shape", shape_tuple, nb::sig("def shape(self) -> tuple[int, ...]"),
                   "Extents in elements, outermost first.")
      .def_prop_ro(
          "ndim", [](const PyTensor& self) { return self.tensor.rank(); }, "Dimensions, 0 to 8.")
      .def_prop_ro(
          "size", [](const PyTensor& self) { return self.tensor.size(); }, "Number of elements.")
      .def_prop_ro(
          "nbytes", [](const PyTensor& self) { return self.tensor.bytes(); },
          "Bytes of the elements.")
      .def_prop_ro(
          "writable", [](const PyTensor& self) { return self.tensor.writable(); },
          "False: lent for reading.")
      .def("__getitem__", sliced, nb::arg("index"),
           nb::sig("def __getitem__(self, index: slice | tuple[slice, ...]) -> Tensor"),
           "A part, by slices with step 1; no copy. Tasks on disjoint parts do not wait for each "
           "other.")
      .def(
          "reshape",
          [](const PyTensor& self, nb::args shape) {
            const nb::object given = shape.size() == 1 ? nb::object(shape[0]) : nb::object(shape);
            return PyTensor(self.tensor.reshape(shape_from(given)), self.exports);
          },
          nb::sig("def reshape(self, *shape: int | tuple[int, ...]) -> Tensor"),
          "The same elements in another shape. Raises InvalidArgument where it is not contiguous "
          "or the sizes differ."
          R"(

>>> host.tensor(np.arange(6)).reshape(2, 3).shape
(2, 3))")
      .def("free", free_tensor,
           "Gives the memory back now; every handle of it is stale from here on. Raises WrongState "
           "while arrays of it are alive, InvalidArgument for a tensor lent to a task."
           R"(

>>> x = host.tensor(np.arange(6))
>>> x.free()
>>> x.array()
Traceback (most recent call last):
...
echelon._src.errors.StaleHandle: ...)")
      .def("__len__",
           [](const PyTensor& self) {
             if (self.tensor.rank() == 0) throw nb::type_error("a tensor of rank 0 has no len()");
             return self.tensor.extent(0);
           })
      .def("__repr__",
           [](const PyTensor& self) { return fmt::format("<Tensor {}>", self.tensor.describe()); })
      .def("__reduce__", refuse_pickle, nb::sig("def __reduce__(self) -> typing.Any"));
}

}  // namespace echelon::python
