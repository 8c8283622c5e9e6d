// SPDX-License-Identifier: Apache-2.0
#include "remote/faults/fault_table.h"

#include <fmt/format.h>

#include <array>

#include "remote/faults/fault_net.h"

namespace echelon::remote_test {
namespace {

using namespace std::chrono_literals;

constexpr Bound kAtOnce{"0.5 s", 500ms};
/// On an idle lane that is a ping, every half second.
constexpr Bound kWithTheNextBytes{"1 s", 1000ms};
constexpr Bound kSilence{"`health_deadline` + 0.5 s", kHealthDeadline + 500ms};
constexpr Bound kUnanswered{"`unresponsive_after` + 0.5 s", kUnresponsiveAfter + 500ms};
constexpr Bound kSameHost{"2 s", 2000ms};
constexpr Bound kSilenceAndHost{"`health_deadline` + 2 s", kHealthDeadline + 2000ms};
constexpr Bound kUnansweredAndHost{"`unresponsive_after` + 2 s", kUnresponsiveAfter + 2000ms};
constexpr Bound kLeaseAndHost{"`lease` + 2 s", kLease + 2000ms};

constexpr std::array kProcessFaults = {
    FaultRow{.test = "KillSession",
             .fault = "kill -9 of a session",
             .kind = FaultKind::kKill,
             .victim = Victim::kSession,
             .says = "SIGKILL",
             .cause = "its daemon's word: the signal",
             .path = "pod0/left",
             .heard = kAtOnce,
             .gone = kSameHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "KillSessionsSpawner",
             .fault = "kill -9 of a session's spawner",
             .kind = FaultKind::kKill,
             .victim = Victim::kSessionsSpawner,
             .says = "spawner",
             .cause = "spawner lost",
             .path = "pod0/left",
             .heard = kAtOnce,
             .gone = kSameHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "KillSubWorker",
             .fault = "kill -9 of a sub-worker under a session",
             .kind = FaultKind::kKill,
             .victim = Victim::kSubWorker,
             .says = "SIGKILL",
             .cause = "the signal, with its path",
             .path = "pod0/left/sub0",
             .heard = kAtOnce,
             .gone = kSameHost,
             .goes_on = kBoth},
    FaultRow{.test = "KillDaemon",
             .fault = "kill -9 of a daemon",
             .kind = FaultKind::kKill,
             .victim = Victim::kDaemon,
             .says = "daemon",
             .cause = "peer lost: the daemon is lost",
             .path = "pod0/left",
             .heard = kAtOnce,
             .gone = kSameHost},
    FaultRow{.test = "KillDaemonsSpawner",
             .fault = "kill -9 of a daemon's spawner",
             .kind = FaultKind::kKill,
             .victim = Victim::kDaemonsSpawner,
             .says = "spawner",
             .cause = "spawner lost",
             .path = "pod0/left",
             .heard = kAtOnce,
             .gone = kSameHost},
    FaultRow{.test = "KillProgram",
             .fault = "kill -9 of the program",
             .kind = FaultKind::kKill,
             .victim = Victim::kProgram,
             .cause = "-",
             .gone = kSameHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "StopSession",
             .fault = "SIGSTOP of a session",
             .kind = FaultKind::kStop,
             .victim = Victim::kSession,
             .times = Times::kSilence,
             .says = "has not been heard for",
             .cause = "peer lost: not heard for so long",
             .path = "pod0/left",
             .heard = kSilence,
             .gone = kSilenceAndHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "StopSessionsSpawner",
             .fault = "SIGSTOP of a session's spawner",
             .kind = FaultKind::kStop,
             .victim = Victim::kSessionsSpawner,
             .goes_on = kBoth},
    FaultRow{.test = "StopSubWorker",
             .fault = "SIGSTOP of a sub-worker under a session",
             .kind = FaultKind::kStop,
             .victim = Victim::kSubWorker,
             .times = Times::kUnanswered,
             .says = "has not answered",
             .cause = "peer lost: it does not answer, with its path",
             .path = "pod0/left/sub0",
             .heard = kUnanswered,
             .gone = kUnansweredAndHost,
             .goes_on = kBoth},
    FaultRow{.test = "StopDaemon",
             .fault = "SIGSTOP of a daemon",
             .kind = FaultKind::kStop,
             .victim = Victim::kDaemon,
             .goes_on = kItsSession},
    FaultRow{.test = "StopDaemonsSpawner",
             .fault = "SIGSTOP of a daemon's spawner",
             .kind = FaultKind::kStop,
             .victim = Victim::kDaemonsSpawner,
             .goes_on = kItsSession},
    FaultRow{.test = "StopProgram",
             .fault = "SIGSTOP of the program",
             .kind = FaultKind::kStop,
             .victim = Victim::kProgram,
             .times = Times::kSilence,
             .cause = "-",
             .gone = kLeaseAndHost,
             .goes_on = kItsDaemon},
};

constexpr FaultRow cut(const char* test, const char* fault, std::uint32_t connection,
                       const char* says, const char* cause) {
  return {.test = test,
          .fault = fault,
          .kind = FaultKind::kProxy,
          .victim = Victim::kLink,
          .proxy = ProxyFault::kCut,
          .connections = connection,
          .says = says,
          .cause = cause,
          .path = "pod0/left",
          .heard = kAtOnce,
          .gone = kSameHost,
          .goes_on = kItsDaemon};
}

constexpr FaultRow corrupt(const char* test, const char* fault, std::uint32_t connection) {
  return {.test = test,
          .fault = fault,
          .kind = FaultKind::kProxy,
          .victim = Victim::kLink,
          .proxy = ProxyFault::kCorrupt,
          .connections = connection,
          .says = "lane is down",
          .cause = "which lane is down",
          .path = "pod0/left",
          .heard = kWithTheNextBytes,
          .gone = kSameHost,
          .goes_on = kItsDaemon};
}

constexpr std::array kNetworkFaults = {
    cut("CutDaemonCall", "the connection to a daemon is reset", kDaemonCall, "daemon",
        "peer lost: the daemon is lost"),
    cut("CutTaskLane", "a task lane's is reset", kTaskLane, "task lane is down",
        "which lane is down"),
    cut("CutDataLane", "a data lane's is reset", kDataLane, "data lane is down",
        "which lane is down"),
    cut("CutHealthLane", "a health lane's is reset", kHealthLane, "health lane is down",
        "which lane is down"),
    corrupt("CorruptTaskLane", "what passes a task lane's is changed", kTaskLane),
    corrupt("CorruptDataLane", "what passes a data lane's is changed", kDataLane),
    corrupt("CorruptHealthLane", "what passes a health lane's is changed", kHealthLane),
    FaultRow{.test = "Delay",
             .fault = "all that passes is late by a tenth of a second",
             .kind = FaultKind::kProxy,
             .victim = Victim::kLink,
             .goes_on = kBoth},
    FaultRow{.test = "Hold",
             .fault = "nothing passes any more, and no connection ends",
             .kind = FaultKind::kProxy,
             .victim = Victim::kLink,
             .proxy = ProxyFault::kHold,
             .connections = kEveryConnection,
             .times = Times::kSilence,
             .says = "has not been heard for",
             .cause = "peer lost: not heard for so long",
             .path = "pod0/left",
             .heard = kSilence,
             .gone = kLeaseAndHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "LinkDown",
             .fault = "a host's link is down",
             .kind = FaultKind::kLink,
             .victim = Victim::kLink,
             .times = Times::kSilence,
             .says = "has not been heard for",
             .cause = "peer lost: not heard for so long",
             .path = "pod0/left",
             .heard = kSilence,
             .gone = kLeaseAndHost,
             .goes_on = kItsDaemon},
    FaultRow{.test = "LinkDownAndUp",
             .fault = "a host's link is down, and up again within `health_deadline`",
             .kind = FaultKind::kLink,
             .victim = Victim::kLink,
             .goes_on = kBoth},
};

const char* text_of(GoesOn goes_on) {
  switch (goes_on) {
    case kNothing:
      return "the other hosts";
    case kItsSession:
      return "the session, the other hosts";
    case kItsDaemon:
      return "its daemon, the other hosts";
    case kBoth:
      break;
  }
  return "the session, its daemon, the other hosts";
}

const char* suite_of(const FaultRow& row) {
  if (row.victim == Victim::kProgram) {
    return "FaultsOfTheProgram.EndItsSessionsInTimeAndTheirDaemonsServeOn";
  }
  return row.says != nullptr ? "Faults.AreHeardOfInTimeAndLeaveNothing"
                             : "FaultsWithoutAWord.LetWorkGoOnAndAreNoHindranceToAnEnd";
}

}  // namespace

std::span<const FaultRow> process_faults() {
  return kProcessFaults;
}

std::span<const FaultRow> network_faults() {
  return kNetworkFaults;
}

std::string table_text() {
  std::string text;
  for (const auto rows : {process_faults(), network_faults()}) {
    for (const FaultRow& row : rows) {
      text +=
          fmt::format("| {} | {} | {} | {} | {} | {}: `{}` |\n", row.fault, row.cause,
                      row.heard.text, row.gone.text, text_of(row.goes_on), row.test, suite_of(row));
    }
  }
  return text;
}

}  // namespace echelon::remote_test
