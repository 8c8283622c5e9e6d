// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <echelon/export.h>

namespace echelon {

/// What kind of failure it is: gRPC's sixteen codes, for programs that decide by them.
enum class Code : std::uint8_t {
  /// No error.
  kOk = 0,
  /// Somebody cancelled it, or closed the Worker.
  kCancelled = 1,
  /// A callable failed, and nothing finer is known.
  kUnknown = 2,
  /// The call is wrong, whatever the state of the tree: mend it.
  kInvalidArgument = 3,
  /// A deadline passed before it had ended.
  kDeadlineExceeded = 4,
  /// What was named does not exist.
  kNotFound = 5,
  /// What was to be made is there already.
  kAlreadyExists = 6,
  /// Not allowed: a handle lent for reading was to be written.
  kPermissionDenied = 7,
  /// A bounded resource is used up: wait, or ask for less.
  kResourceExhausted = 8,
  /// The tree is not in the state for it: call it at another time.
  kFailedPrecondition = 9,
  /// Given up because of something else that failed.
  kAborted = 10,
  /// An index or a range leaves what it points into.
  kOutOfRange = 11,
  /// This version, level or driver cannot do it.
  kUnimplemented = 12,
  /// A bug of ours, or of a peer.
  kInternal = 13,
  /// Who should do it is gone or does not answer.
  kUnavailable = 14,
  /// Data is lost or damaged.
  kDataLoss = 15,
  /// Who asks did not show who it is.
  kUnauthenticated = 16,
};

/// What happened, in Echelon's own terms; finer than Code.
enum class Reason : std::uint16_t {
  /// Not known.
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
  kRegistration,     // a callable could not be registered in a running tree
  kWrongKind,        // a sub, chip or orchestration callable where another kind is run
};
/// The last Reason: decoders refuse what lies beyond.
inline constexpr Reason kReasonLast = Reason::kWrongKind;

/// Where in its life a task was.
enum class Phase : std::uint8_t {
  /// Not in a task's life.
  kNone = 0,
  kQueued,     // submitted, waiting for its inputs or for room at a child
  kStaging,    // taken by its child, arguments being opened or copied in
  kRunning,    // inside the callable
  kReturning,  // results being copied back
};
/// The last Phase: decoders refuse what lies beyond.
inline constexpr Phase kPhaseLast = Phase::kReturning;

/// What ended it.
enum class Cause : std::uint8_t {
  /// Not known.
  kNone = 0,
  /// A callable threw.
  kException,
  /// A signal ended its process: ErrorInfo::signal.
  kSignal,
  /// Its process ended by itself: ErrorInfo::exit_code.
  kExit,
  /// Refused before the callable ran.
  kRefused,
  /// A deadline passed.
  kDeadline,
  /// Cancelled.
  kCancelled,
  /// A process that it needed is gone or does not answer.
  kPeerLost,
  /// The memory behind a handle is gone.
  kStaleHandle,
  /// Memory was used up.
  kOutOfMemory,
  /// It was not run: a task that it depends on failed.
  kDependency,
};
/// The last Cause: decoders refuse what lies beyond.
inline constexpr Cause kCauseLast = Cause::kDependency;

/// The name in words, "invalid argument"; for any value, also one that is no Code.
ECHELON_API std::string_view to_string(Code code);
/// The same for a Reason.
ECHELON_API std::string_view to_string(Reason reason);
/// The same for a Phase.
ECHELON_API std::string_view to_string(Phase phase);
/// The same for a Cause.
ECHELON_API std::string_view to_string(Cause cause);

}  // namespace echelon
