// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace echelon {
namespace {

Code code_for_errno(int error) {
  switch (error) {
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
      return Code::kResourceExhausted;
    case EPERM:
    case EACCES:
      return Code::kPermissionDenied;
    case ENOENT:
    case ESRCH:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case ENOSYS:
    case EOPNOTSUPP:
      return Code::kUnimplemented;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
      return Code::kUnavailable;
    case ETIMEDOUT:
      return Code::kDeadlineExceeded;
    case EINVAL:
    case EBADF:
    case EFAULT:
      return Code::kInternal;
    default:
      return Code::kUnknown;
  }
}

}  // namespace

Status Status::error(Code code, Reason reason, std::string message) {
  ErrorInfo info;
  info.code = code;
  info.reason = reason;
  info.message = std::move(message);
  return Status(std::move(info));
}

namespace {

std::string_view advice_for(int error) {
  if (error != EMFILE) return {};
  return "; raise the limit of open files (`ulimit -n`, LimitNOFILE= of a service)";
}

}  // namespace

Status Status::from_errno(int error, std::string call) {
  const char* name = ::strerrorname_np(error);
  const char* meaning = ::strerrordesc_np(error);
  return Status::error(code_for_errno(error), Reason::kSystem,
                       name == nullptr
                           ? fmt::format("{}: errno {}", call, error)
                           : fmt::format("{}: {} ({}){}", call, name,
                                         meaning != nullptr ? meaning : "", advice_for(error)));
}

std::string Status::to_string() const {
  return ok() ? "ok" : describe(*info_);
}

}  // namespace echelon
