// SPDX-License-Identifier: Apache-2.0
#include "python/arguments.h"

#include <fmt/format.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <cstring>
#include <span>
#include <string>

#include <echelon/call_config.h>

#include "python/arrays.h"
#include "python/given.h"
#include "python/tensors.h"

namespace echelon::python {
namespace {

[[noreturn]] void raise_no_tensor(nb::handle given) {
  const bool array = nb::hasattr(given, "__array_interface__");
  throw nb::type_error(
      fmt::format("a Tensor was expected, not {}{}", nb::type_name(given.type()).c_str(),
                  array ? ": put the array into the tree's memory first, host.tensor(array)" : "")
          .c_str());
}

const Tensor& tensor_from(nb::handle given) {
  if (!nb::isinstance<PyTensor>(given)) raise_no_tensor(given);
  return made<PyTensor>(given).tensor;
}

template <Args& (Args::*kAdd)(const Tensor&)>
nb::handle add(nb::handle_t<Args> self, nb::handle tensor) {
  (made<Args>(self).*kAdd)(tensor_from(tensor));
  return self;
}

/// output(tensor), or output(shape, dtype): allocated by submit().
nb::handle add_output(nb::handle_t<Args> self, nb::handle tensor, nb::handle dtype) {
  Args& args = made<Args>(self);
  if (dtype.is_none()) {
    args.output(tensor_from(tensor));
  } else {
    args.output(shape_from(tensor), dtype_from(dtype));
  }
  return self;
}

/// bytes, bytearray, memoryview, an array: whatever shows its memory, in one piece.
nb::handle add_inline_bytes(nb::handle_t<Args> self, nb::handle data) {
  if (PyObject_CheckBuffer(data.ptr()) == 0) {
    throw nb::type_error(fmt::format("inline_bytes: bytes, or what shows its memory as they do, "
                                     "was expected, not {}",
                                     shown(data))
                             .c_str());
  }
  Py_buffer buffer;
  if (PyObject_GetBuffer(data.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nb::python_error();
  struct Release {
    Py_buffer& of;
    ~Release() { PyBuffer_Release(&of); }
  } const release{buffer};
  made<Args>(self).inline_bytes(
      std::span(static_cast<const std::byte*>(buffer.buf), static_cast<std::size_t>(buffer.len)));
  return self;
}

std::string describe_args(const Args& args) {
  const std::size_t inlined = args.inlined().size();
  return fmt::format("<Args: {} tensors, {} scalars{}>", args.tensors().size(),
                     args.scalars().size(),
                     inlined == 0 ? "" : fmt::format(", {} inline bytes", inlined));
}

/// Anything that is not a plain Python number: NumPy decides, and refuses.
void add_converted(Args& args, nb::handle value, nb::handle dtype) {
  nb::object array = nb::borrow(value);
  if (!dtype.is_none()) {
    array = nb::module_::import_("echelon._src.dtypes")
                .attr("number_as")(value, dtype_object(dtype_from(dtype)));
  }
  array = array_from(array, nb::none());
  if (nb::cast<int>(array.attr("ndim")) != 0) {
    throw nb::type_error(
        fmt::format("a scalar is one number, not {}; larger data goes into a tensor", shown(value))
            .c_str());
  }
  const DType type = dtype_from(array.attr("dtype"));
  const auto bytes = nb::cast<nb::bytes>(array.attr("tobytes")());
  with_dtype(type, [&]<class T>() {
    T number{};
    std::memcpy(static_cast<void*>(&number), bytes.c_str(), sizeof number);
    args.scalar(number);
  });
}

nb::handle add_scalar(nb::handle_t<Args> self, nb::handle value, nb::handle dtype) {
  Args& args = made<Args>(self);
  PyObject* const given = value.ptr();
  if (!dtype.is_none()) {
    add_converted(args, value, dtype);
  } else if (PyFloat_CheckExact(given)) {
    args.scalar(PyFloat_AS_DOUBLE(given));
  } else if (PyBool_Check(given)) {
    args.scalar(given == Py_True);
  } else if (PyLong_CheckExact(given)) {
    const std::int64_t number = PyLong_AsLongLong(given);
    if (number == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
    args.scalar(number);
  } else {
    add_converted(args, value, dtype);
  }
  return self;
}

void bind_inline_bytes(nb::class_<Args>& args) {
  args.def("inline_bytes", add_inline_bytes, nb::arg("data").none(),
           nb::sig("def inline_bytes(self, data: bytes | bytearray | memoryview | "
                   "numpy.typing.NDArray[typing.Any]) -> Args"),
           "Bytes by value, copied now: a small table, a text. They travel within the task, "
           "wherever it runs, and are read there as TaskArgs.inline_bytes; not by chip kernels. At "
           "most 64 times and 1 MiB in all for one task: raises InvalidArgument beyond. Larger "
           "data belongs in a tensor, which travels once, not with each task."
           R"(

>>> length = host.register_sub(lambda task: len(task.inline_bytes[0]))
>>> args = ec.Args().inline_bytes(b"a few words")
>>> host.run(lambda orch: orch.submit(length, args).result())
11)");
}

void bind_args(nb::module_& module) {
  nb::class_<Args> args(module, "Args",
                        R"(What a task is given: tensors with their tags, and scalars.

Each call returns the same Args, so that they chain: ``ec.Args().input(x).output(y).scalar(3.0)``.
Tensors and scalars are two lists, each in the order of its calls; at most 64 of each.

>>> x = ec.Worker(level=3).tensor((4,), np.float32)
>>> ec.Args().input(x).scalar(3).scalar(0.5, np.float32)
<Args: 1 tensors, 2 scalars>)");
  args.def(nb::init<>())
      .def("input", add<&Args::input>, nb::arg("tensor").none(),
           nb::sig("def input(self, tensor: Tensor) -> Args"),
           "Read by the task."
           R"(

>>> ec.Args().input(host.tensor((4,), np.float32))
<Args: 1 tensors, 0 scalars>)")
      .def("output", add_output, nb::arg("tensor").none(), nb::arg("dtype") = nb::none(),
           nb::sig(
               "def output(self, tensor: Tensor | int | tuple[int, ...], dtype: typing.Any = None)"
               " -> Args"),
           "Written whole by the task: a tensor, or a shape and a dtype, and submit() allocates "
           "it (TaskHandle.output())."
           R"(

>>> ec.Args().output((4,), np.float32)  # allocated by submit()
<Args: 1 tensors, 0 scalars>)")
      .def("inout", add<&Args::inout>, nb::arg("tensor").none(),
           nb::sig("def inout(self, tensor: Tensor) -> Args"),
           "Read and written in place."
           R"(

>>> ec.Args().inout(host.tensor((4,), np.float32))
<Args: 1 tensors, 0 scalars>)")
      .def("output_existing", add<&Args::output_existing>, nb::arg("tensor").none(),
           nb::sig("def output_existing(self, tensor: Tensor) -> Args"),
           "Written in part: what is not written stays as it was."
           R"(

>>> ec.Args().output_existing(host.tensor((4,), np.float32))
<Args: 1 tensors, 0 scalars>)")
      .def("no_dep", add<&Args::no_dep>, nb::arg("tensor").none(),
           nb::sig("def no_dep(self, tensor: Tensor) -> Args"),
           "Read without taking part in the ordering."
           R"(

>>> ec.Args().no_dep(host.tensor((4,), np.float32))
<Args: 1 tensors, 0 scalars>)")
      .def("scalar", add_scalar, nb::arg("value").none(), nb::arg("dtype") = nb::none(),
           nb::sig("def scalar(self, value: typing.Any, dtype: typing.Any = None) -> Args"),
           "A number by value: a float is float64, an int int64, a NumPy scalar what it is; or as "
           "`dtype`, which must hold it: 300 as int8 and 1.5 as int32 are refused."
           R"(

>>> ec.Args().scalar(3.0).scalar(7, np.int8)
<Args: 0 tensors, 2 scalars>)")
      .def("__repr__", describe_args);
  bind_inline_bytes(args);
}

/// What a CallConfig is pickled as.
using ConfigState = std::tuple<std::array<std::uint32_t, 3>, std::uint32_t, std::uint32_t,
                               std::string, std::map<std::string, std::string>>;

void bind_config(nb::module_& module) {
  nb::class_<CallConfig>(module, "CallConfig",
                         R"(How a callable is to be run; crosses every level unchanged.

grid: blocks of a chip kernel in x, y, z. cores: of the chip, 0 means all. values: your own
texts.

>>> ec.CallConfig(grid=(4, 1, 1), values={"seed": "7"})
CallConfig(grid=(4, 1, 1), cores=0, profiling=0, values={'seed': '7'}))")
      .def(
          "__init__",
          [](CallConfig* self, std::array<std::uint32_t, 3> grid, std::uint32_t cores,
             std::uint32_t profiling, std::map<std::string, std::string> values) {
            new (self) CallConfig{grid, cores, profiling, {}, std::move(values)};
          },
          nb::kw_only(), nb::arg("grid") = std::array<std::uint32_t, 3>{1, 1, 1},
          nb::arg("cores") = 0, nb::arg("profiling") = 0,
          nb::arg("values") = std::map<std::string, std::string>(),
          nb::sig("def __init__(self, *, grid: tuple[int, int, int] = (1, 1, 1), cores: int = 0, "
                  "profiling: int = 0, values: collections.abc.Mapping[str, str] = {}) -> None"))
      .def_prop_rw(
          "grid",
          [](const CallConfig& self) {
            return nb::make_tuple(self.grid[0], self.grid[1], self.grid[2]);
          },
          [](CallConfig& self, std::array<std::uint32_t, 3> grid) { self.grid = grid; },
          "Blocks of a chip kernel's launch in x, y, z; each at least 1.",
          nb::for_getter(nb::sig("def grid(self) -> tuple[int, int, int]")),
          nb::for_setter(nb::sig("def grid(self, grid: typing.Sequence[int], /) -> None")))
      .def_rw("cores", &CallConfig::cores,
              "Cores of the chip to spread the grid over; 0: all of them.")
      .def_rw("profiling", &CallConfig::profiling,
              "Profiling flags for drivers and tools; the runtime passes them on.")
      .def_ro("scope", &CallConfig::scope, "The submitting scope; set by the runtime.")
      .def_rw("values", &CallConfig::values,
              "Your own keys and values, texts; at most 16 KiB in all.")
      .def(
          "__eq__", [](const CallConfig& a, const CallConfig& b) { return a == b; },
          nb::is_operator(), nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def(
          "__getstate__",
          [](const CallConfig& self) {
            return ConfigState{self.grid, self.cores, self.profiling, self.scope, self.values};
          },
          nb::sig("def __getstate__(self) -> tuple[typing.Any, ...]"))
      .def(
          "__setstate__",
          [](CallConfig& self, const ConfigState& state) {
            const auto& [grid, cores, profiling, scope, values] = state;
            new (&self) CallConfig{grid, cores, profiling, scope, values};
          },
          nb::sig("def __setstate__(self, state: tuple[typing.Any, ...]) -> None"))
      .def("__repr__", [](const CallConfig& self) {
        return fmt::format("CallConfig(grid=({}, {}, {}), cores={}, profiling={}, values={})",
                           self.grid[0], self.grid[1], self.grid[2], self.cores, self.profiling,
                           shown(nb::cast(self.values)));
      });
}

}  // namespace

nb::object scalar_object(DType dtype, std::uint64_t bits) {
  return with_dtype(dtype, [bits]<class T>() -> nb::object {
    T number{};
    std::memcpy(static_cast<void*>(&number), &bits, sizeof number);
    if constexpr (std::is_same_v<T, bool>) {
      return nb::bool_(number);
    } else if constexpr (std::is_integral_v<T>) {
      return nb::int_(number);
    } else if constexpr (std::is_floating_point_v<T>) {
      return nb::float_(static_cast<double>(number));
    } else {
      constexpr const char* kName = std::is_same_v<T, float16> ? "float16" : "bfloat16";
      return nb::module_::import_("echelon._src.dtypes").attr("half_from_bits")(kName, number.bits);
    }
  });
}

void bind_arguments(nb::module_& module) {
  bind_args(module);
  bind_config(module);
}

}  // namespace echelon::python
