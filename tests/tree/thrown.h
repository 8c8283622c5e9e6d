// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <echelon/error.h>

namespace echelon::tree_test {

inline Error nothing_thrown() {
  ErrorInfo info;
  info.message = "nothing was thrown";
  return Error(std::make_shared<const ErrorInfo>(std::move(info)));
}

/// The `Kind` that `call` throws; a failure of the test where it throws nothing or another one.
template <class Kind, class Call>
Error thrown(Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (const Error& error) {
    if constexpr (!std::is_same_v<Kind, Error>) {
      if (dynamic_cast<const Kind*>(&error) == nullptr) {
        ADD_FAILURE() << "an error of another kind: " << error.what();
      }
    }
    return error;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not an Error: " << error.what();
    return nothing_thrown();
  }
  ADD_FAILURE() << "nothing was thrown";
  return nothing_thrown();
}

}  // namespace echelon::tree_test
