// SPDX-License-Identifier: Apache-2.0
//
// What a daemon takes: how many sessions, how much memory, callables in which forms. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/status.h"
#include "remote/manifest.h"

namespace echelon {

/// Code that a parent may bring along, beyond what this installation has: nothing unless allowed.
enum class AllowedCode : std::uint8_t {
  kLibrary,  // machine code by content: shared objects and chip images
  kPickle,   // Python's pickle, which runs what it likes as it is read
  kSource,   // text that is compiled or interpreted here
};
std::string_view to_string(AllowedCode what);
/// "library,pickle". Errors: kBadArgument, with the words there are.
Result<std::set<AllowedCode>> parse_allowed(std::string_view list);

/// Errors: kBadArgument, naming `what` ("callable"), `name`, and what allows it.
Status check_form(const std::set<AllowedCode>& allowed, embedding::Form form, std::string_view what,
                  const std::string& name);

struct SessionRules {
  std::uint32_t sessions_max = 16;
  /// For the tensors of all sessions together.
  std::uint64_t memory_bytes_max = 0;
  std::set<AllowedCode> allowed;
  /// Whether there is a Python for sessions that ask for it.
  bool python = false;
};

/// Half of this machine's memory.
std::uint64_t default_session_memory();

struct SessionsInUse {
  std::size_t sessions = 0;
  std::uint64_t memory_bytes = 0;
};

/// Errors: kExhausted, with how many there are and may be.
Status check_session_count(const SessionRules& rules, std::size_t sessions);

/// What a session gets for its tensors: what it asks for, or an equal share. Errors:
/// kBadArgument (other protocol; a runtime that is not there; code in a form that is not allowed,
/// naming it and what allows it),
/// kExhausted (sessions, memory: what is asked for, what is left, and of how much).
Result<std::uint64_t> admit_session(const SessionRules& rules, const SessionManifest& manifest,
                                    const SessionsInUse& in_use);

}  // namespace echelon
