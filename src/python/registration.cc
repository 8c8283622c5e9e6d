// SPDX-License-Identifier: Apache-2.0
//
// A function goes to the children in one of four ways: inherited (before start()), or, in a running
// tree, as a pickle in its envelope, as an import path, or by the name that C++ gave it
// (ECHELON_SUB, ECHELON_ORCH).
#include "python/registration.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include <span>
#include <string>

#include <echelon/embedding.h>

#include "python/callables.h"
#include "python/failures.h"
#include "python/given.h"
#include "python/orchestrators.h"
#include "python/shipping.h"

namespace echelon::python {
namespace {

using std::chrono::milliseconds;

/// For the tracebacks of the processes that inherit it.
void remember_source(nb::handle function) {
  nb::module_::import_("echelon._src.sources").attr("remember")(function);
}

/// A function as it is registered before start().
struct Given {
  const std::string& name;
  nb::handle function;
  std::string path;  // its import path, where that is how it was given
};

/// What sub and orchestration functions differ in.
struct SubKind {
  using Handle = SubHandle;
  static constexpr const char* kName = "sub";
  static Handle inherit(PyWorker& self, const Given& given) {
    const auto held = self.hold(given.function);
    embedding::Inherited inherited{
        given.name, as_sub(held), {}, packer(held, given.name, given.path)};
    const WithoutLock without;
    return embedding::inherit_sub(self.get(), std::move(inherited));
  }
  static Handle by_name(PyWorker& self, const std::string& name, milliseconds timeout) {
    const WithoutLock without(Waits::kInterruptible);
    return self.get().register_sub(name, RegisterOptions{timeout});
  }
  static constexpr auto kShip = embedding::ship_sub;
  static void check(nb::handle) {}
};

struct OrchKind {
  using Handle = OrchHandle;
  static constexpr const char* kName = "orch";
  static Handle inherit(PyWorker& self, const Given& given) {
    const auto held = self.hold(given.function);
    embedding::Inherited inherited{
        given.name, {}, as_orch(held), packer(held, given.name, given.path)};
    const WithoutLock without;
    return embedding::inherit_orch(self.get(), std::move(inherited));
  }
  static Handle by_name(PyWorker& self, const std::string& name, milliseconds timeout) {
    const WithoutLock without(Waits::kInterruptible);
    return self.get().register_orch(name, RegisterOptions{timeout});
  }
  static constexpr auto kShip = embedding::ship_orch;
  static void check(nb::handle function) { (void)orch_arity(function); }
};

/// A function of our own modules, for ever.
nb::handle function_of(const char* module, const char* name) {
  return nb::object(nb::module_::import_(module).attr(name)).release();
}

milliseconds timeout_from(nb::handle given) {
  if (given.is_none()) throw_wrong_type(given, "timeout", "seconds or a datetime.timedelta");
  return std::chrono::duration_cast<milliseconds>(duration_from(given, "timeout"));
}

/// Is it a handle of the tree that `self` is in? For what a function captures.
nb::object knows_handles_of(PyWorker& self) {
  return nb::cpp_function([&self](nb::handle handle) {
    const auto is_here = [&self](const detail::CallableRef& ref) {
      const WithoutLock without;
      return self.get().in_tree(ref);
    };
    if (nb::isinstance<PySubHandle>(handle)) return is_here(made<PySubHandle>(handle).handle.ref());
    if (nb::isinstance<PyOrchHandle>(handle))
      return is_here(made<PyOrchHandle>(handle).handle.ref());
    return is_here(made<PyChipHandle>(handle).handle.ref());
  });
}

/// Ships a form's payload, any object with a buffer.
template <class Kind>
typename Kind::Handle ship(PyWorker& self, embedding::Shipment shipment, nb::handle payload,
                           milliseconds timeout) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(payload.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nb::python_error();
  const std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> release(&buffer, PyBuffer_Release);
  shipment.payload = std::as_bytes(
      std::span(static_cast<const char*>(buffer.buf), static_cast<std::size_t>(buffer.len)));
  const WithoutLock without(Waits::kInterruptible);
  return Kind::kShip(self.get(), shipment, timeout);
}

template <class Kind>
typename Kind::Handle ship_function(PyWorker& self, nb::handle function, const std::string& name,
                                    bool name_given, milliseconds timeout) {
  Kind::check(function);
  static const nb::handle pickle_function = function_of("echelon._src.shipping", "pickle_function");
  const nb::object sealed =
      pickle_function(function, nb::str(name.c_str()), knows_handles_of(self));
  return ship<Kind>(self, {embedding::Form::kPickle, name, {}, name_given}, sealed, timeout);
}

/// "package.module:function", or what C++ calls it.
template <class Kind>
nb::object register_text(PyWorker& self, const std::string& text, nb::handle name,
                         milliseconds timeout) {
  const std::string called = name.is_none() ? text : text_from(name, "name");
  if (text.find(':') == std::string::npos) {
    return nb::cast(Named<typename Kind::Handle>{Kind::by_name(self, text, timeout), text});
  }
  const nb::bytes path(text.data(), text.size());
  const auto handle =
      ship<Kind>(self, {embedding::Form::kImportPath, called, {}, !name.is_none()}, path, timeout);
  return nb::cast(Named<typename Kind::Handle>{handle, called});
}

template <class Kind>
nb::object register_function(PyWorker& self, nb::handle given, nb::handle name,
                             nb::handle timeout) {
  const milliseconds patience = timeout_from(timeout);
  nb::object function = nb::borrow(given);
  std::string text;
  if (nb::isinstance<nb::str>(given)) {
    text = text_from(given, "function");
    if (self.ships() || text.find(':') == std::string::npos) {
      return register_text<Kind>(self, text, name, patience);
    }
    static const nb::handle import_path = function_of("echelon._src.shipping", "import_path");
    function = import_path(given);
  }
  if (PyCallable_Check(function.ptr()) == 0) {
    throw nb::type_error(
        fmt::format("register_{}: a function was expected, not {}", Kind::kName, shown(function))
            .c_str());
  }
  nb::object known = self.count_again(function, Kind::kName, name);
  if (!known.is_none()) return known;
  static const nb::handle check_plain = function_of("echelon._src.signatures", "check_plain");
  check_plain(function, fmt::format("register_{}", Kind::kName));
  const std::string called = self.functions().name_for(function, Kind::kName, name);
  const bool ships = self.ships();
  if (!ships) remember_source(function);
  const auto handle = ships ? ship_function<Kind>(self, function, called, !name.is_none(), patience)
                            : Kind::inherit(self, {called, function, text});
  nb::object made = nb::cast(Named<typename Kind::Handle>{handle, called});
  self.functions().add(function, Kind::kName, called, made, handle.ref());
  return made;
}

PyChipHandle register_chip(PyWorker& self, nb::handle given_name, nb::handle given_image,
                           nb::handle timeout) {
  const std::string name = text_from(given_name, "name");
  const auto& image =
      expect<ChipImage>(given_image, "image", "a ChipImage (from_file, from_source)");
  const RegisterOptions options{timeout_from(timeout)};
  const WithoutLock without(Waits::kInterruptible);
  return {self.get().register_chip(name, image, options), name};
}

PyLibraryHandle register_library(PyWorker& self, nb::handle path, nb::handle timeout) {
  const RegisterOptions options{timeout_from(timeout)};
  const std::string text = path_from(path, "path");
  const WithoutLock without(Waits::kInterruptible);
  return {self.get().register_library(text, options), text};
}

template <class Handle>
void drop(PyWorker& self, const Handle& handle) {
  const detail::CallableRef& ref = handle.ref();
  // What is inherited stays known, as unregister() refuses it below.
  if (ref.serial != 0) {
    if (!self.is_registered(ref)) {
      self.functions().forget(ref);
    } else if (!self.functions().drop(ref)) {
      return;
    }
  }
  const WithoutLock without;
  self.get().unregister(handle);
}

void unregister(PyWorker& self, nb::handle handle) {
  if (nb::isinstance<PySubHandle>(handle)) {
    drop(self, made<PySubHandle>(handle).handle);
  } else if (nb::isinstance<PyOrchHandle>(handle)) {
    drop(self, made<PyOrchHandle>(handle).handle);
  } else if (nb::isinstance<PyChipHandle>(handle)) {
    drop(self, made<PyChipHandle>(handle).handle);
  } else if (nb::isinstance<PyLibraryHandle>(handle)) {
    drop(self, made<PyLibraryHandle>(handle).handle);
  } else {
    throw nb::type_error(fmt::format("unregister: a handle was expected, not {}",
                                     nb::type_name(handle.type()).c_str())
                             .c_str());
  }
}

constexpr const char* kSubSignature =
    "def register_sub(self, function: typing.Callable[[Task], typing.Any] | str, "
    "name: str | None = None, *, timeout: float | datetime.timedelta = 30.0) -> SubHandle";
constexpr const char* kOrchSignature =
    "def register_orch(self, function: typing.Callable[..., typing.Any] | str, "
    "name: str | None = None, *, timeout: float | datetime.timedelta = 30.0) -> OrchHandle";

void bind_functions(nb::class_<PyWorker>& worker) {
  worker
      .def("register_sub", register_function<SubKind>, nb::arg("function").none(),
           nb::arg("name") = nb::none(), nb::kw_only(), nb::arg("timeout").none() = 30.0,
           nb::sig(kSubSignature),
           R"(Registers a function(task) that runs in sub-workers.

Before start(): children inherit it with all it captures, as it is at start(). In a running tree it
is pickled with a copy of what it captures and sent to every process that may need it; this returns
when all have it. "package.module:function" sends only the name; a text without a colon is the name
that C++ gave it (ECHELON_SUB). The same function again gives the same handle. A name that you give
is unique in a Worker. timeout: seconds.

Raises CannotShip (a TypeError) naming what is captured and cannot be sent, RegistrationFailed with
one entry a process, InvalidArgument where nobody can run it.

>>> scale = host.register_sub(lambda task: task.scalars[0] * 2, name="scale")
>>> scale
<SubHandle scale>
>>> host.register_sub("os:getpid")  # by import path: only the name is sent
<SubHandle os:getpid>)")
      .def("register_orch", register_function<OrchKind>, nb::arg("function").none(),
           nb::arg("name") = nb::none(), nb::kw_only(), nb::arg("timeout").none() = 30.0,
           nb::sig(kOrchSignature),
           "Registers an orchestration function, (orch), (orch, args) or (orch, args, config), as "
           "register_sub() does."
           R"(

>>> pod = ec.Worker(level=4)
>>> below = pod.add_worker(ec.Worker(level=3, sub_workers=1))
>>> each = pod.register_orch(lambda orch: orch.path)
>>> with pod:
...     pod.run(lambda orch: orch.submit(each).result())
'pod0/host0')");
}

}  // namespace

void bind_registration(nb::class_<PyWorker>& worker) {
  bind_functions(worker);
  worker
      .def("register_chip", register_chip, nb::arg("name").none(), nb::arg("image").none(),
           nb::kw_only(), nb::arg("timeout").none() = 30.0,
           nb::sig("def register_chip(self, name: str, image: ChipImage, *, timeout: float | "
                   "datetime.timedelta = 30.0) -> ChipHandle"),
           "Registers a chip kernel; it is loaded into every chip of the subtree, also while the "
           "tree runs."
           R"(

>>> source = '''#include <echelon/chip_kernel.h>
... ECHELON_KERNEL(fill) {
...   for (auto& value : echelon::kernel::values<float>(args, context, 0)) value = 7;
... }'''
>>> fill = host.register_chip("fill", ec.ChipImage.from_source(source, "fill"))
>>> x = host.tensor((2,), np.float32)
>>> host.run(lambda orch: orch.submit(fill, ec.Args().output(x)).wait())
True
>>> x.array()
array([7., 7.], dtype=float32))")
      .def("register_library", register_library, nb::arg("path").none(), nb::kw_only(),
           nb::arg("timeout").none() = 30.0,
           nb::sig("def register_library(self, path: str | os.PathLike[str], *, timeout: float | "
                   "datetime.timedelta = 30.0) -> LibraryHandle"),
           "Loads a shared object into every process of the running subtree that runs functions; "
           "its C++ functions can then be registered by name."
           R"(

>>> host.register_library("absent.so")
Traceback (most recent call last):
...
echelon._src.errors.InvalidArgument: ...absent.so cannot be read)")
      .def("unregister", unregister, nb::arg("handle").none(),
           nb::sig("def unregister(self, handle: SubHandle | OrchHandle | ChipHandle | "
                   "LibraryHandle) -> None"),
           "Takes back one registration that was made in the running tree; with the last the "
           "handle is refused. Tasks that were submitted finish. Raises StaleHandle where it was "
           "unregistered already, InvalidArgument for one of another Worker or from before "
           "start()."
           R"(

>>> seven = host.register_sub(lambda task: 7)
>>> host.unregister(seven)
>>> host.run(lambda orch: orch.submit(seven))
Traceback (most recent call last):
...
echelon._src.errors.StaleHandle: ...)");
}

}  // namespace echelon::python
