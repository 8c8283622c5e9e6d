// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace echelon {
namespace {

using ::testing::HasSubstr;

Result<int> half(int value) {
  if (value % 2 != 0) return Status::error(Code::kInvalidArgument, Reason::kBadArgument, "odd");
  return value / 2;
}

Status quarter(int value, int& out) {
  ECHELON_ASSIGN_OR_RETURN(const int first, half(value));
  ECHELON_ASSIGN_OR_RETURN(out, half(first));
  return {};
}

TEST(Status, SuccessIsOnePointerAndSaysOk) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), Code::kOk);
  EXPECT_EQ(status.to_string(), "ok");
}

TEST(Status, ErrorsKeepWhatWasSaid) {
  const Status status = Status::error(Code::kOutOfRange, Reason::kBadArgument, "too far");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), Code::kOutOfRange);
  EXPECT_EQ(status.info().message, "too far");
}

TEST(Status, ErrnoIsNamedWithItsCall) {
  const Status status = Status::from_errno(ENOENT, "open(x)");
  EXPECT_EQ(status.reason(), Reason::kSystem);
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.to_string(), HasSubstr("open(x): ENOENT (No such file or directory)"));
}

TEST(Result, ErrorsPassThroughTheMacros) {
  int out = 0;
  EXPECT_TRUE(quarter(12, out).ok());
  EXPECT_EQ(out, 3);
  EXPECT_EQ(quarter(6, out).info().message, "odd");
}

TEST(Result, HoldsWhatOnlyMoves) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 5);
}

TEST(ResultDeathTest, TheValueOfAnErrorIsABugThatSaysTheError) {
  EXPECT_DEATH((void)half(3).value(), "odd");
}

}  // namespace
}  // namespace echelon
