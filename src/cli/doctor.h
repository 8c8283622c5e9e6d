// SPDX-License-Identifier: Apache-2.0
//
// `echelon doctor`: what this machine offers and what is in the way, in plain words. One check is
// one function; doctor_*.cc hold them by subject, and checks() is the table of all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/figure.h"

namespace echelon::cli {

enum class Verdict {
  kOk,
  kWarn,  // it works, but slower or with less than one might think
  kFail,  // trees do not run here until this is mended
};
const char* to_string(Verdict verdict);

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string found;        // what is there
  std::string advice = {};  // what to do about it; empty where nothing is to be done
};

struct Check {
  const char* group;  // checks of one group stand together
  const char* name;
  Finding (*run)();
};

/// Every check, in the order in which they are printed.
std::vector<Check> checks();

// The parts of the table.
std::span<const Check> machine_checks();
std::span<const Check> memory_checks();
std::span<const Check> kernel_checks();
std::span<const Check> limit_checks();
std::span<const Check> chip_checks();

struct Diagnosis {
  Check check;
  Finding finding;
};
/// Runs all checks. A check that throws has failed with what it threw.
std::vector<Diagnosis> diagnose(std::span<const Check> all);

Verdict worst(std::span<const Diagnosis> diagnoses);
/// {"verdict": "ok", "checks": [{"group", "name", "verdict", "found", "advice"}]}
Json to_json(std::span<const Diagnosis> diagnoses);
std::string to_text(std::span<const Diagnosis> diagnoses);

// --- the parts of checks that look at no machine -------------------------------------------------

Finding judge_processors(unsigned usable, std::optional<double> quota);
Finding judge_clock(const std::string& clock_source);
Finding judge_memory(std::uint64_t available, std::optional<std::uint64_t> cgroup_limit,
                     std::uint64_t cgroup_used);
Finding judge_overcommit(std::optional<std::int64_t> mode);
Finding judge_memfd_noexec(std::optional<std::int64_t> mode);
Finding judge_huge_pages(const std::string& ordinary, const std::string& shared);
/// `used` of `limit` processes and threads; nullopt: no limit.
Finding judge_processes(const char* limit_name, std::optional<std::uint64_t> limit,
                        std::uint64_t used);
Finding judge_open_files(std::uint64_t soft, std::uint64_t hard);

}  // namespace echelon::cli
