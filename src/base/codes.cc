// SPDX-License-Identifier: Apache-2.0
#include <echelon/codes.h>

namespace echelon {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kCancelled:
      return "cancelled";
    case Code::kUnknown:
      return "unknown";
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kDeadlineExceeded:
      return "deadline exceeded";
    case Code::kNotFound:
      return "not found";
    case Code::kAlreadyExists:
      return "already exists";
    case Code::kPermissionDenied:
      return "permission denied";
    case Code::kResourceExhausted:
      return "resource exhausted";
    case Code::kFailedPrecondition:
      return "failed precondition";
    case Code::kAborted:
      return "aborted";
    case Code::kOutOfRange:
      return "out of range";
    case Code::kUnimplemented:
      return "unimplemented";
    case Code::kInternal:
      return "internal";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDataLoss:
      return "data loss";
    case Code::kUnauthenticated:
      return "unauthenticated";
  }
  return "invalid code";
}

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "none";
    case Reason::kBadArgument:
      return "bad argument";
    case Reason::kWrongLevel:
      return "wrong level";
    case Reason::kWrongState:
      return "wrong state";
    case Reason::kForeignHandle:
      return "foreign handle";
    case Reason::kStaleHandle:
      return "stale handle";
    case Reason::kWrongAccess:
      return "wrong access";
    case Reason::kWrongType:
      return "wrong type";
    case Reason::kNoEligibleChild:
      return "no eligible child";
    case Reason::kException:
      return "exception";
    case Reason::kChildDied:
      return "child died";
    case Reason::kUnresponsive:
      return "unresponsive";
    case Reason::kBadFrame:
      return "bad frame";
    case Reason::kDeadline:
      return "deadline";
    case Reason::kCancelled:
      return "cancelled";
    case Reason::kPoisoned:
      return "poisoned";
    case Reason::kExhausted:
      return "resource exhausted";
    case Reason::kSpawnerLost:
      return "spawner lost";
    case Reason::kStartFailed:
      return "start failed";
    case Reason::kImage:
      return "bad image";
    case Reason::kDriver:
      return "driver";
    case Reason::kTooLarge:
      return "too large";
    case Reason::kSystem:
      return "system";
    case Reason::kInternal:
      return "internal";
    case Reason::kRegistration:
      return "registration";
    case Reason::kWrongKind:
      return "wrong kind";
  }
  return "invalid reason";
}

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kNone:
      return "none";
    case Phase::kQueued:
      return "queued";
    case Phase::kStaging:
      return "staging";
    case Phase::kRunning:
      return "running";
    case Phase::kReturning:
      return "returning";
  }
  return "invalid phase";
}

std::string_view to_string(Cause cause) {
  switch (cause) {
    case Cause::kNone:
      return "none";
    case Cause::kException:
      return "exception";
    case Cause::kSignal:
      return "signal";
    case Cause::kExit:
      return "exit";
    case Cause::kRefused:
      return "refused";
    case Cause::kDeadline:
      return "deadline";
    case Cause::kCancelled:
      return "cancelled";
    case Cause::kPeerLost:
      return "peer lost";
    case Cause::kStaleHandle:
      return "stale handle";
    case Cause::kOutOfMemory:
      return "out of memory";
    case Cause::kDependency:
      return "dependency";
  }
  return "invalid cause";
}

}  // namespace echelon
