// SPDX-License-Identifier: Apache-2.0
//
// ChildBoot: what a new child gets, and the hygiene it goes through before anything else: default
// signal handlers, empty mask, SIGINT ignored (Ctrl-C reaches the whole group; the root cancels),
// stdin from /dev/null, stdout and stderr into the spawner's pipes and line buffered, SIGKILL with
// its spawner's end, and of our descriptors its own alone.
//
// Processes: runs in the child; a forked one enters by enter_forked_child(), an exec'd one by
//   enter_exec_child() at the top of its main().
// Threads: the child's only thread. Fork: the spawner that forks has one thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/endpoint.h"

namespace echelon {

struct ChildBoot {
  ChildIndex index;
  ChildKind kind = ChildKind::kSub;
  Uid uid;            // of this incarnation
  std::string path;   // "pod0/host1/sub0"
  std::string name;   // "sub0"
  UniqueFd channel;   // the channel's segment
  UniqueFd edge;      // this end of the socketpair for descriptors
  UniqueFd doorbell;  // the parent's doorbell segment
  UniqueFd payload;   // what ChildFds::payload named; none for an exec'd child
  pid_t spawner_pid = 0;
  /// Chips: the argv of ChildSpec.
  std::vector<std::string> arguments;
};

/// Where an exec'd child finds its descriptors.
inline constexpr int kExecChannelFd = 3;
inline constexpr int kExecEdgeFd = 4;
inline constexpr int kExecDoorbellFd = 5;

/// Where a runner finds the socket that it waits at (process/warm_runner.h).
inline constexpr int kRunnerSocketFd = 3;

/// What a spawner puts between argv[0] and ChildSpec::arguments of an exec'd child.
std::vector<std::string> exec_arguments(const ChildBoot& boot);

/// After fork: everything above; closes every other descriptor of ours. `output` and `errors` are
/// the writing ends of the spawner's pipes. Errors: kSpawnerLost where the spawner died meanwhile;
/// kSystem.
Status enter_forked_child(const ChildBoot& boot, int output, int errors);

/// After exec: reads its own arguments and does the same. Errors: kBadArgument where it was not
/// started by a spawner; kSpawnerLost; kSystem.
Result<ChildBoot> enter_exec_child(std::span<char* const> argv);

/// In a runner: waits until it is to be a child, then does the same. nullopt: never, as the spawner
/// has ended or keeps it no longer. Errors: kBadArgument where no spawner started it; kBadFrame;
/// kSpawnerLost; kSystem.
Result<std::optional<ChildBoot>> enter_runner_child();

/// Default dispositions and an empty mask, but SIGINT ignored. For spawners, too.
void reset_signals();

/// True while the process that made this one is still its parent. A change of credentials clears
/// PR_SET_PDEATHSIG, hence the control thread asks every 5 s.
bool spawner_is_parent(pid_t spawner_pid);

/// Flushes stdio and iostreams, then _exit: no destructors, no atexit handlers of the user's.
[[noreturn]] void leave_child(int code);

}  // namespace echelon
