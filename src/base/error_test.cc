// SPDX-License-Identifier: Apache-2.0
#include <echelon/error.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

namespace echelon {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const ErrorInfo> info_of(Code code, Reason reason) {
  auto info = std::make_shared<ErrorInfo>();
  info->code = code;
  info->reason = reason;
  info->message = "why";
  return info;
}

TEST(Describe, NamesPathProcessCallablePhaseAndCause) {
  ErrorInfo info;
  info.path = "pod0/host1/sub0";
  info.pid = 71;
  info.callable = "step";
  info.phase = Phase::kRunning;
  info.time_in_phase = std::chrono::milliseconds(1200);
  info.cause = Cause::kException;
  info.message = "no data";
  EXPECT_EQ(describe(info),
            "pod0/host1/sub0 (pid 71, callable step): running for 1.2 s: exception: no data");
}

TEST(Describe, NamesSignals) {
  ErrorInfo info;
  info.cause = Cause::kSignal;
  info.signal = 9;
  EXPECT_EQ(describe(info), "signal 9 (SIGKILL)");
}

TEST(Describe, FallsBackOnReasonAndCode) {
  ErrorInfo info;
  info.code = Code::kNotFound;
  EXPECT_EQ(describe(info), "not found");
  info.reason = Reason::kStaleHandle;
  EXPECT_EQ(describe(info), "stale handle");
}

TEST(Describe, ListsOthersUpToALimit) {
  ErrorInfo info;
  info.message = "first";
  info.others.resize(20);
  info.others[0].message = "second";
  const std::string text = describe(info);
  EXPECT_THAT(text, HasSubstr("\nalso: unknown: second"));
  EXPECT_THAT(text, HasSubstr("\nand 4 more"));
}

TEST(Describe, EndsWithTheRemoteTraceback) {
  ErrorInfo info;
  info.traceback = "at x";
  EXPECT_THAT(describe(info), HasSubstr("remote traceback:\nat x"));
}

template <class Kind>
void expect_kind(Code code, Reason reason) {
  try {
    throw_error(info_of(code, reason));
  } catch (const Error& error) {
    EXPECT_EQ(typeid(error), typeid(Kind)) << to_string(code) << ", " << to_string(reason);
  }
}

TEST(ThrowError, TheReasonDecidesTheKind) {
  expect_kind<InvalidArgument>(Code::kInvalidArgument, Reason::kWrongLevel);
  expect_kind<WrongState>(Code::kFailedPrecondition, Reason::kWrongState);
  expect_kind<StaleHandle>(Code::kNotFound, Reason::kStaleHandle);
  expect_kind<DeadlineExceeded>(Code::kDeadlineExceeded, Reason::kDeadline);
  expect_kind<Cancelled>(Code::kCancelled, Reason::kCancelled);
  expect_kind<ResourceExhausted>(Code::kResourceExhausted, Reason::kExhausted);
  expect_kind<InvalidArgument>(Code::kInvalidArgument, Reason::kWrongKind);
  expect_kind<TaskFailed>(Code::kAborted, Reason::kException);
  expect_kind<TaskFailed>(Code::kAborted, Reason::kPoisoned);
  expect_kind<ChildLost>(Code::kUnavailable, Reason::kChildDied);
  expect_kind<StartFailed>(Code::kUnavailable, Reason::kStartFailed);
  expect_kind<RegistrationFailed>(Code::kFailedPrecondition, Reason::kRegistration);
}

TEST(ThrowError, NoEligibleChildIsALossWhereTheyDied) {
  expect_kind<ChildLost>(Code::kUnavailable, Reason::kNoEligibleChild);
  expect_kind<InvalidArgument>(Code::kFailedPrecondition, Reason::kNoEligibleChild);
}

TEST(ThrowError, WithoutAReasonTheCodeDecides) {
  expect_kind<InvalidArgument>(Code::kOutOfRange, Reason::kNone);
  expect_kind<ResourceExhausted>(Code::kResourceExhausted, Reason::kSystem);
  expect_kind<Error>(Code::kUnknown, Reason::kNone);
}

TEST(Error, CopiesShareWhatTheySay) {
  const Error error(info_of(Code::kInternal, Reason::kInternal));
  const Error copy = error;
  EXPECT_STREQ(copy.what(), "internal: why");
  EXPECT_EQ(&copy.info(), &error.info());
}

}  // namespace
}  // namespace echelon
