// SPDX-License-Identifier: Apache-2.0
#include "api/throw_status.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace echelon::detail {
namespace {

std::string current_type_name() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "unknown exception";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? name.get() : type->name();
}

}  // namespace

ErrorInfo current_exception_info() {
  ErrorInfo info;
  info.code = Code::kAborted;
  info.reason = Reason::kException;
  info.cause = Cause::kException;
  info.phase = Phase::kRunning;
  try {
    throw;
  } catch (const Error& error) {
    return error.info();
  } catch (const std::bad_alloc&) {
    info.cause = Cause::kOutOfMemory;
    info.message = "std::bad_alloc: the callable ran out of memory";
  } catch (const std::exception& error) {
    info.message = fmt::format("{}: {}", current_type_name(), error.what());
  } catch (...) {
    info.message = fmt::format("{} (not a std::exception)", current_type_name());
  }
  return info;
}

}  // namespace echelon::detail
