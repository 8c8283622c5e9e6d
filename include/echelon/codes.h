// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <echelon/export.h>

namespace echelon {

/// What kind of failure it is: gRPC's sixteen codes, for programs that decide by them.
enum class Code : std::uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

/// What happened, in Echelon's own terms; finer than Code.
enum class Reason : std::uint16_t {
  kNone = 0,
  kBadArgument,      // an argument is refused before anything is submitted
  kWrongLevel,       // the operation does not exist at this Worker's level
  kWrongState,       // not started, started twice, closed, already has a parent
  kForeignHandle,    // a handle that belongs to another Worker
  kStaleHandle,      // the buffer behind a handle was freed, or its loan has ended
  kWrongAccess,      // writing through a read-only handle
  kWrongType,        // dtype, rank or shape differs from what was asked for
  kNoEligibleChild,  // no (live) child can run the task
  kException,        // a callable threw
  kChildDied,        // the process that ran the task ended
  kUnresponsive,     // the process did not answer on its control ring
  kBadFrame,         // a peer wrote bytes that are not a valid frame
  kDeadline,         // a deadline passed
  kCancelled,        // cancelled by its user
  kPoisoned,         // skipped, because a task it depends on failed
  kExhausted,        // a bounded resource is used up
  kSpawnerLost,      // the spawner died: no process can be started or reaped
  kStartFailed,      // a child could not start
  kImage,            // a chip image does not compile, load or hold the kernel
  kDriver,           // a chip driver refused or failed
  kTooLarge,         // larger than a named limit
  kSystem,           // the operating system refused a call
  kInternal,         // a bug of ours
};
inline constexpr Reason kReasonLast = Reason::kInternal;

/// Where in its life a task was.
enum class Phase : std::uint8_t {
  kNone = 0,
  kQueued,     // submitted, waiting for its inputs or for room at a child
  kStaging,    // taken by its child, arguments being opened or copied in
  kRunning,    // inside the callable
  kReturning,  // results being copied back
};
inline constexpr Phase kPhaseLast = Phase::kReturning;

/// What ended it.
enum class Cause : std::uint8_t {
  kNone = 0,
  kException,
  kSignal,
  kExit,
  kRefused,
  kDeadline,
  kCancelled,
  kPeerLost,
  kStaleHandle,
  kOutOfMemory,
  kDependency,
};
inline constexpr Cause kCauseLast = Cause::kDependency;

ECHELON_API std::string_view to_string(Code code);
ECHELON_API std::string_view to_string(Reason reason);
ECHELON_API std::string_view to_string(Phase phase);
ECHELON_API std::string_view to_string(Cause cause);

}  // namespace echelon
