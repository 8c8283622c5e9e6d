// SPDX-License-Identifier: Apache-2.0
//
// Status and Result<T>: expected failures inside the runtime. Exceptions exist at the facade only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <echelon/error.h>

#include "base/check.h"

namespace echelon {

/// Success, or an ErrorInfo. One pointer wide; success allocates nothing; copies share the info.
class [[nodiscard]] Status {
 public:
  Status() = default;
  explicit Status(ErrorInfo info) : info_(std::make_shared<const ErrorInfo>(std::move(info))) {}
  explicit Status(std::shared_ptr<const ErrorInfo> info) : info_(std::move(info)) {}
  static Status error(Code code, Reason reason, std::string message);
  /// kSystem, with the call's text, errno's name and its meaning.
  static Status from_errno(int error, std::string call);

  bool ok() const { return info_ == nullptr; }
  explicit operator bool() const { return ok(); }
  Code code() const { return info_ ? info_->code : Code::kOk; }
  Reason reason() const { return info_ ? info_->reason : Reason::kNone; }
  /// REQUIRES: !ok()
  const ErrorInfo& info() const {
    ECHELON_CHECK(info_ != nullptr);
    return *info_;
  }
  const std::shared_ptr<const ErrorInfo>& shared_info() const { return info_; }
  std::string to_string() const;

 private:
  std::shared_ptr<const ErrorInfo> info_;
};

/// A value, or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {  // NOLINT
    ECHELON_CHECK(!status_.ok());
  }
  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }
  T& value() & {
    ECHELON_CHECK(ok(), status_.to_string());
    return *value_;
  }
  const T& value() const& {
    ECHELON_CHECK(ok(), status_.to_string());
    return *value_;
  }
  T&& value() && {
    ECHELON_CHECK(ok(), status_.to_string());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

/// Returns the Status from the enclosing function when it is an error.
#define ECHELON_RETURN_IF_ERROR(expr)                                                              \
  do {                                                                                             \
    if (::echelon::Status echelon_status_ = (expr); !echelon_status_.ok()) return echelon_status_; \
  } while (false)

#define ECHELON_CONCAT_INNER_(a, b) a##b
#define ECHELON_CONCAT_(a, b) ECHELON_CONCAT_INNER_(a, b)
/// ECHELON_ASSIGN_OR_RETURN(auto x, f()): x is the value, or the enclosing function returns why
/// not.
#define ECHELON_ASSIGN_OR_RETURN(lhs, expr) \
  ECHELON_ASSIGN_OR_RETURN_(ECHELON_CONCAT_(echelon_result_, __LINE__), lhs, expr)
#define ECHELON_ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                              \
  if (!result.ok()) return result.status();          \
  lhs = std::move(result).value()

}  // namespace echelon
