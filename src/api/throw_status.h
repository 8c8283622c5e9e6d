// SPDX-License-Identifier: Apache-2.0
//
// Where a Status becomes an exception: the facade, and nothing below it.
#pragma once

#include <string>

#include "base/status.h"

namespace echelon::detail {

inline void throw_if_error(const Status& status) {
  if (!status.ok()) throw_error(status.shared_info());
}

template <class T>
T value_or_throw(Result<T> result) {
  throw_if_error(result.status());
  return std::move(result).value();
}

[[noreturn]] inline void throw_new(Code code, Reason reason, std::string message) {
  throw_error(Status::error(code, reason, std::move(message)).shared_info());
}

[[noreturn]] inline void throw_bad_argument(std::string message) {
  throw_new(Code::kInvalidArgument, Reason::kBadArgument, std::move(message));
}

/// What the exception that is being handled says, as an ErrorInfo with Cause::kException.
/// REQUIRES: called in a catch block.
ErrorInfo current_exception_info();

}  // namespace echelon::detail
