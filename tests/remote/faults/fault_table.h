// SPDX-License-Identifier: Apache-2.0
//
// What is promised of a tree over several hosts when something dies, stands still or is cut off:
// one table, that the tests assert and docs/guarantees.md shows.
#pragma once

#include <chrono>
#include <cstdint>
#include <ostream>
#include <span>
#include <string>

#include "remote/faults/fault_proxy.h"

namespace echelon::remote_test {

enum class FaultKind : std::uint8_t { kKill, kStop, kLink, kProxy };

/// Of the host "left", unless it is the program.
enum class Victim : std::uint8_t {
  kSession,
  kSessionsSpawner,
  kSubWorker,
  kDaemon,
  kDaemonsSpawner,
  kProgram,
  kLink,
};

/// A time as the page tells it, and as it is with the settings of these tests. No time: it is not
/// to happen.
struct Bound {
  const char* text = "-";
  std::chrono::milliseconds time{0};
};

/// Which times the row is about.
enum class Times : std::uint8_t { kNone, kSilence, kUnanswered };

/// What goes on in left beside what the fault hit; right always does.
enum GoesOn : std::uint8_t { kNothing = 0, kItsSession = 1, kItsDaemon = 2, kBoth = 3 };

struct FaultRow {
  const char* test;   // the name of its test
  const char* fault;  // in words
  FaultKind kind;
  Victim victim;
  ProxyFault proxy = ProxyFault::kNone;
  std::uint32_t connections = 0;
  Times times = Times::kNone;

  /// The error of the task that waits in left: nullptr where there is none, and the task goes on.
  const char* says = nullptr;  // a part of its text
  const char* cause = "nothing";
  const char* path = "";
  Bound heard = {};
  /// What is left of the session, or of the victim's subtree where that is below the session.
  Bound gone = {};
  GoesOn goes_on = kNothing;
};

inline void PrintTo(const FaultRow& row, std::ostream* out) {
  *out << row.fault;
}

std::span<const FaultRow> process_faults();
std::span<const FaultRow> network_faults();

/// The rows of the page, without its heading.
std::string table_text();

}  // namespace echelon::remote_test
