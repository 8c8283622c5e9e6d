// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <string_view>

namespace echelon::cli {
namespace {

const char* mark(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok  ";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      return "FAIL";
  }
  return "";
}

std::string summary(std::span<const Diagnosis> diagnoses) {
  const auto count = [diagnoses](Verdict verdict) {
    return std::count_if(diagnoses.begin(), diagnoses.end(),
                         [verdict](const Diagnosis& d) { return d.finding.verdict == verdict; });
  };
  const auto fails = count(Verdict::kFail), warns = count(Verdict::kWarn);
  if (fails > 0)
    return fmt::format("{} in the way of running trees here, {} worth a look", fails, warns);
  if (warns > 0) return fmt::format("trees run here; {} worth a look", warns);
  return "trees run here; nothing is in the way";
}

}  // namespace

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      return "fail";
  }
  return "invalid";
}

std::vector<Check> checks() {
  std::vector<Check> all;
  for (const auto part :
       {machine_checks(), memory_checks(), kernel_checks(), limit_checks(), chip_checks()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<Diagnosis> diagnose(std::span<const Check> all) {
  std::vector<Diagnosis> diagnoses;
  for (const Check& check : all) {
    try {
      diagnoses.push_back({check, check.run()});
    } catch (const std::exception& error) {
      diagnoses.push_back({check, {Verdict::kFail, error.what()}});
    }
  }
  return diagnoses;
}

Verdict worst(std::span<const Diagnosis> diagnoses) {
  Verdict verdict = Verdict::kOk;
  for (const Diagnosis& diagnosis : diagnoses)
    verdict = std::max(verdict, diagnosis.finding.verdict);
  return verdict;
}

Json to_json(std::span<const Diagnosis> diagnoses) {
  Json list = Json::array();
  for (const auto& [check, finding] : diagnoses) {
    list.push_back({{"group", check.group},
                    {"name", check.name},
                    {"verdict", to_string(finding.verdict)},
                    {"found", finding.found},
                    {"advice", finding.advice}});
  }
  return {{"verdict", to_string(worst(diagnoses))}, {"checks", std::move(list)}};
}

std::string to_text(std::span<const Diagnosis> diagnoses) {
  std::size_t width = 0;
  for (const auto& [check, finding] : diagnoses)
    width = std::max(width, std::string_view(check.name).size());
  std::string text;
  std::string_view group;
  for (const auto& [check, finding] : diagnoses) {
    if (group != check.group) {
      text += fmt::format("{}{}\n", text.empty() ? "" : "\n", check.group);
      group = check.group;
    }
    text +=
        fmt::format("  {}  {:<{}}  {}\n", mark(finding.verdict), check.name, width, finding.found);
    if (!finding.advice.empty())
      text += fmt::format("  {:<{}}    -> {}\n", "", width + 4, finding.advice);
  }
  return text + "\n" + summary(diagnoses) + "\n";
}

}  // namespace echelon::cli
