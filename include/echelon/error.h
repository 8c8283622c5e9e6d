// SPDX-License-Identifier: Apache-2.0
//
// What a failure says. Inside the runtime an ErrorInfo travels in a Status, across processes as
// bytes (base/error_codec.h); the public API throws an Error that holds it.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <echelon/codes.h>
#include <echelon/export.h>

namespace echelon {

/// Everything known of one failure. Empty strings and zeros mean "not known" or "does not apply".
struct ErrorInfo {
  /// What kind of failure, for programs that decide by it.
  Code code = Code::kUnknown;
  /// What happened, finer than the code.
  Reason reason = Reason::kNone;
  /// Where in its life the task was.
  Phase phase = Phase::kNone;
  /// What ended it.
  Cause cause = Cause::kNone;
  std::string message;         // one sentence: what was given, what was expected, what to do
  std::string path;            // "pod0/host1/sub0": where it happened
  std::string host;            // name of the machine
  std::string callable;        // name under which the callable was registered
  std::string digest;          // hex SHA-256 of the callable's descriptor
  std::string traceback;       // the remote side's own stack, as text
  std::string exception;       // bytes: what a language binding makes its own exception from
  std::int64_t pid = 0;        // the process it happened in
  std::int64_t signal = 0;     // with Cause::kSignal
  std::int64_t exit_code = 0;  // with Cause::kExit
  /// How long it had been in `phase`.
  std::chrono::nanoseconds time_in_phase{0};
  std::vector<ErrorInfo> others;  // the other errors of the same run, oldest first
};

/// "pod0/host1/sub0 (pid 71, callable step): running for 1.2 s: exception: ..." and the others.
ECHELON_API std::string describe(const ErrorInfo& info);

/// Base of all exceptions thrown by the public API. Copying shares the ErrorInfo.
class ECHELON_API Error : public std::exception {
 public:
  /// For throw_error(), which knows the kind. `info` is not null.
  explicit Error(std::shared_ptr<const ErrorInfo> info);
  /// describe() of its ErrorInfo. Valid as long as the exception or a copy of it.
  const char* what() const noexcept override;

  /// Of the first error, like all that follow: ErrorInfo::code.
  Code code() const { return info_->code; }
  /// ErrorInfo::reason.
  Reason reason() const { return info_->reason; }
  /// ErrorInfo::phase.
  Phase phase() const { return info_->phase; }
  /// ErrorInfo::cause.
  Cause cause() const { return info_->cause; }
  /// One sentence: what was given, what was expected, what to do.
  const std::string& message() const { return info_->message; }
  /// Where in the tree it happened: "pod0/host1/sub0"; empty if nowhere.
  const std::string& path() const { return info_->path; }
  /// The name under which the callable was registered; empty if none was running.
  const std::string& callable() const { return info_->callable; }
  /// The other process's own stack, as text; empty if it had none to give.
  const std::string& remote_traceback() const { return info_->traceback; }
  /// Of the process it happened in; 0: not known.
  std::int64_t pid() const { return info_->pid; }
  /// The other errors of the same run, oldest first.
  const std::vector<ErrorInfo>& others() const { return info_->others; }
  /// Everything known of it.
  const ErrorInfo& info() const { return *info_; }

 private:
  std::shared_ptr<const ErrorInfo> info_;
  std::shared_ptr<const std::string> what_;
};

/// The kinds, by what the caller would do about it.
struct ECHELON_API InvalidArgument : Error {
  using Error::Error;
};  // mend the call
struct ECHELON_API WrongState : Error {
  using Error::Error;
};  // call it at another time
struct ECHELON_API StaleHandle : Error {
  using Error::Error;
};  // the tensor, or the callable, is gone
struct ECHELON_API DeadlineExceeded : Error {
  using Error::Error;
};  // give it longer, or look at what is stuck
/// Somebody cancelled the run, or closed the Worker.
struct ECHELON_API Cancelled : Error {
  using Error::Error;
};
struct ECHELON_API ResourceExhausted : Error {
  using Error::Error;
};  // wait, or ask for less
struct ECHELON_API TaskFailed : Error {
  using Error::Error;
};  // a callable threw, or was poisoned
struct ECHELON_API ChildLost : Error {
  using Error::Error;
};  // a process of the tree died
struct ECHELON_API StartFailed : Error {
  using Error::Error;
};  // a child could not start
struct ECHELON_API RegistrationFailed : Error {
  using Error::Error;
};  // registered nowhere; path(), pid() and remote_traceback() are of the first process that could
    // not, others() has one entry a process that was asked, code() kOk where it could

/// Throws the kind that belongs to `info`.
[[noreturn]] ECHELON_API void throw_error(std::shared_ptr<const ErrorInfo> info);

}  // namespace echelon
