// SPDX-License-Identifier: Apache-2.0
#include "python/failures.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "python/given.h"

namespace echelon::python {
namespace {

using SharedInfo = std::shared_ptr<const ErrorInfo>;

nb::object errors_module() {
  return nb::module_::import_("echelon._src.errors");
}

/// The name of the exception class: as in C++, but a wrong kind, which does not compile there, is a
/// TypeError, too.
const char* kind_of(const ErrorInfo& info) {
  if (info.reason == Reason::kWrongKind) return "WrongKind";
  try {
    throw_error(std::make_shared<const ErrorInfo>(info));
  } catch (const InvalidArgument&) {
    return "InvalidArgument";
  } catch (const WrongState&) {
    return "WrongState";
  } catch (const StaleHandle&) {
    return "StaleHandle";
  } catch (const DeadlineExceeded&) {
    return "DeadlineExceeded";
  } catch (const Cancelled&) {
    return "Cancelled";
  } catch (const ResourceExhausted&) {
    return "ResourceExhausted";
  } catch (const TaskFailed&) {
    return "TaskFailed";
  } catch (const ChildLost&) {
    return "ChildLost";
  } catch (const StartFailed&) {
    return "StartFailed";
  } catch (const RegistrationFailed&) {
    return "RegistrationFailed";
  } catch (const Error&) {
    return "Error";
  }
}

void translate(const std::exception_ptr& pointer, void* /*payload*/) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    try {
      const nb::object raised = errors_module().attr("from_info")(nb::cast(error.info()));
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
    } catch (nb::python_error& instead) {  // Ctrl-C
      instead.restore();
    }
  }
}

/// A text of it, which C++ code may have made of any bytes.
template <std::string ErrorInfo::*kText>
nb::str text(const ErrorInfo& info) {
  return text_object(info.*kText);
}

[[noreturn]] void throw_with(Code code, Reason reason, std::string message) {
  ErrorInfo info;
  info.code = code;
  info.reason = reason;
  info.message = std::move(message);
  throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
}

}  // namespace

void throw_invalid(std::string message) {
  throw_with(Code::kInvalidArgument, Reason::kBadArgument, std::move(message));
}

void throw_wrong_state(std::string message) {
  throw_with(Code::kFailedPrecondition, Reason::kWrongState, std::move(message));
}

nb::object take_exception(nb::python_error& raised) {
  raised.restore();
#if PY_VERSION_HEX >= 0x030C0000
  return nb::steal(PyErr_GetRaisedException());
#else
  // What C code raised may still be a class and its arguments.
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return nb::steal(value);
#endif
}

void raise_unreadable(nb::python_error& raised) {
  if (raised.matches(PyExc_KeyboardInterrupt)) throw nb::python_error(std::move(raised));
  const nb::object cause = take_exception(raised);
  ErrorInfo info;
  info.code = Code::kAborted;
  info.reason = Reason::kException;
  info.cause = Cause::kException;
  info.phase = Phase::kReturning;
  info.message = "what the function returned cannot be unpickled here: " +
                 nb::cast<std::string>(errors_module().attr("message_of")(cause));
  const nb::object error = errors_module().attr("from_info")(nb::cast(info));
  error.attr("__cause__") = cause;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

void throw_for_cpp(nb::handle exception) {
  ErrorInfo info;
  try {
    const nb::object told = errors_module().attr("to_info")(exception);
    if (nb::isinstance<ErrorInfo>(told)) {
      info = nb::cast<ErrorInfo>(told);
    } else {
      const auto parts = nb::cast<nb::tuple>(told);
      info.code = Code::kAborted;
      info.reason = Reason::kException;
      info.cause = Cause::kException;
      info.phase = Phase::kRunning;
      info.message = nb::cast<std::string>(parts[0]);
      info.traceback = nb::cast<std::string>(parts[1]);
      const auto bytes = nb::cast<nb::bytes>(parts[2]);
      info.exception.assign(bytes.c_str(), bytes.size());
    }
  } catch (nb::python_error& second) {
    info.code = Code::kAborted;
    info.reason = Reason::kException;
    info.cause = Cause::kException;
    info.message = std::string("an exception that could not be described: ") + second.what();
  }
  throw_error(std::make_shared<const ErrorInfo>(std::move(info)));
}

void bind_failures(nb::module_& module) {
  nb::class_<ErrorInfo>(module, "ErrorInfo",
                        "Everything known of one failure; empty and 0 mean \"not known\".")
      .def_prop_ro(
          "kind", [](const ErrorInfo& info) { return kind_of(info); },
          "The name of the exception class that belongs to it.")
      .def_prop_ro(
          "code", [](const ErrorInfo& info) { return to_string(info.code); },
          "One of gRPC's sixteen, in words: \"invalid argument\".")
      .def_prop_ro(
          "reason", [](const ErrorInfo& info) { return to_string(info.reason); },
          "What happened, finer than the code.")
      .def_prop_ro(
          "phase", [](const ErrorInfo& info) { return to_string(info.phase); },
          "Where in its life the task was: \"queued\", \"staging\", \"running\", \"returning\", "
          "\"none\".")
      .def_prop_ro(
          "cause", [](const ErrorInfo& info) { return to_string(info.cause); },
          "What ended it: \"exception\", \"signal\", \"deadline\", ...")
      .def_prop_ro("message", text<&ErrorInfo::message>,
                   "One sentence: what was given, what was expected, what to do.")
      .def_prop_ro("path", text<&ErrorInfo::path>,
                   "Where in the tree it happened: \"pod0/host1/sub0\".")
      .def_ro("host", &ErrorInfo::host, "Name of the machine.")
      .def_prop_ro("callable", text<&ErrorInfo::callable>,
                   "The name under which the callable was registered.")
      .def_ro("digest", &ErrorInfo::digest, "Hex SHA-256 of the callable's descriptor.")
      .def_prop_ro("traceback", text<&ErrorInfo::traceback>,
                   "The other process's own stack, as text.")
      .def_prop_ro(
          "exception",
          [](const ErrorInfo& info) {
            return nb::bytes(info.exception.data(), info.exception.size());
          },
          "The pickled exception; empty where there is none.")
      .def_ro("pid", &ErrorInfo::pid, "Of the process that it happened in; 0: not known.")
      .def_ro("signal", &ErrorInfo::signal,
              "The signal that ended the process, with cause \"signal\".")
      .def_ro("exit_code", &ErrorInfo::exit_code, "Of the process, with cause \"exit\".")
      .def_prop_ro(
          "time_in_phase",
          [](const ErrorInfo& info) {
            return std::chrono::duration<double>(info.time_in_phase).count();
          },
          "Seconds in that phase.")
      .def_ro("others", &ErrorInfo::others, "The other errors of the same run, oldest first.")
      .def(
          "describe", [](const ErrorInfo& info) { return text_object(describe(info)); },
          "All of it as text, the way it is printed."
          R"(

>>> try:
...     host.sub_worker(9)
... except ec.Error as error:
...     print(error.info.describe())
bad argument: sub-worker 9 of host0, which has 2)");
  nb::register_exception_translator(translate);
}

}  // namespace echelon::python
