// SPDX-License-Identifier: Apache-2.0
#include "remote/session_rules.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "remote/manifest_check.h"

namespace echelon {
namespace {

constexpr std::array kAllAllowed = {AllowedCode::kLibrary, AllowedCode::kPickle,
                                    AllowedCode::kSource};

/// nullopt: nothing need be allowed for it.
std::optional<AllowedCode> needed_for(embedding::Form form) {
  switch (form) {
    case embedding::Form::kLibrary:
    case embedding::Form::kImage:
      return AllowedCode::kLibrary;
    case embedding::Form::kPickle:
      return AllowedCode::kPickle;
    case embedding::Form::kInherited:
    case embedding::Form::kName:
    case embedding::Form::kImportPath:
      break;
  }
  return std::nullopt;
}

Status full(std::string message) {
  return Status::error(Code::kResourceExhausted, Reason::kExhausted, std::move(message));
}

Status not_allowed(std::string_view what, const std::string& name, AllowedCode code) {
  return Status::error(
      Code::kPermissionDenied, Reason::kBadArgument,
      fmt::format("{} '{}' is refused: this daemon takes no {} code from its parents; start it "
                  "with --allow {} where they are trusted",
                  what, name, to_string(code), to_string(code)));
}

Status check_runtime(const SessionRules& rules, const SessionManifest& manifest) {
  if (manifest.runtime != SessionRuntime::kPython || rules.python) return {};
  return Status::error(
      Code::kFailedPrecondition, Reason::kBadArgument,
      fmt::format("{} is to run Python (runtime), and this daemon has none; start it as `python -m "
                  "echelon daemon`, or with --python PATH; a Worker of C++ functions alone has the "
                  "runtime \"native\"",
                  manifest.name));
}

Status check_code(const SessionRules& rules, const SessionManifest& manifest) {
  for (const ManifestLibrary& library : manifest.libraries) {
    ECHELON_RETURN_IF_ERROR(
        check_form(rules.allowed, embedding::Form::kLibrary, "library", library.name));
  }
  for (const ManifestCallable& callable : manifest.callables) {
    ECHELON_RETURN_IF_ERROR(check_form(rules.allowed, callable.form, "callable", callable.name));
  }
  return {};
}

}  // namespace

std::string_view to_string(AllowedCode what) {
  switch (what) {
    case AllowedCode::kLibrary:
      return "library";
    case AllowedCode::kPickle:
      return "pickle";
    case AllowedCode::kSource:
      return "source";
  }
  return "unknown";
}

Result<std::set<AllowedCode>> parse_allowed(std::string_view list) {
  std::set<AllowedCode> allowed;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view word = list.substr(0, comma);
    const auto known = std::find_if(kAllAllowed.begin(), kAllAllowed.end(),
                                    [&](AllowedCode code) { return to_string(code) == word; });
    if (known == kAllAllowed.end()) {
      return Status::error(
          Code::kInvalidArgument, Reason::kBadArgument,
          fmt::format("'{}' is nothing that can be allowed; write library, pickle or source, with "
                      "commas between them",
                      word));
    }
    allowed.insert(*known);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return allowed;
}

Status check_form(const std::set<AllowedCode>& allowed, embedding::Form form, std::string_view what,
                  const std::string& name) {
  const auto needed = needed_for(form);
  if (!needed.has_value() || allowed.contains(*needed)) return {};
  return not_allowed(what, name, *needed);
}

std::uint64_t default_session_memory() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
}

Status check_session_count(const SessionRules& rules, std::size_t sessions) {
  if (sessions < rules.sessions_max) return {};
  return full(
      fmt::format("this daemon has {} sessions, and {} are allowed (--max-sessions); close one, or "
                  "ask another host",
                  sessions, rules.sessions_max));
}

Result<std::uint64_t> admit_session(const SessionRules& rules, const SessionManifest& manifest,
                                    const SessionsInUse& in_use) {
  ECHELON_RETURN_IF_ERROR(check_protocol(manifest.protocol_major, manifest.protocol_minor));
  ECHELON_RETURN_IF_ERROR(check_runtime(rules, manifest));
  ECHELON_RETURN_IF_ERROR(check_code(rules, manifest));
  ECHELON_RETURN_IF_ERROR(check_session_count(rules, in_use.sessions));
  const std::uint64_t left =
      rules.memory_bytes_max - std::min(rules.memory_bytes_max, in_use.memory_bytes);
  const std::uint64_t share = rules.memory_bytes_max / std::max(rules.sessions_max, 1u);
  const std::uint64_t asked = manifest.memory_bytes_max != 0 ? manifest.memory_bytes_max : share;
  if (asked > left || asked == 0) {
    return full(
        fmt::format("a session of {} bytes for tensors; {} of this daemon's {} are left "
                    "(--memory): ask for less, or close a session",
                    asked, left, rules.memory_bytes_max));
  }
  return asked;
}

}  // namespace echelon
