// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace echelon::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

Finding find_good() {
  return {Verdict::kOk, "all well"};
}
Finding find_slow() {
  return {Verdict::kWarn, "slow", "do this"};
}
Finding find_error() {
  throw std::runtime_error("no such call");
}

constexpr Check kGood = {"One", "good", find_good};
constexpr Check kSlow = {"One", "slow", find_slow};
constexpr Check kError = {"Two", "error", find_error};

TEST(Doctor, NamesOfChecksAreUnique) {
  std::set<std::string> names;
  for (const Check& check : checks()) EXPECT_TRUE(names.insert(check.name).second) << check.name;
}

TEST(Doctor, TheWorstFindingDecides) {
  const Check some[] = {kGood, kSlow};
  EXPECT_EQ(worst(diagnose(some)), Verdict::kWarn);
  EXPECT_EQ(worst({}), Verdict::kOk);
}

TEST(Doctor, ACheckThatThrowsHasFailed) {
  const Check some[] = {kError};
  const auto diagnoses = diagnose(some);
  EXPECT_EQ(diagnoses[0].finding.verdict, Verdict::kFail);
  EXPECT_EQ(diagnoses[0].finding.found, "no such call");
}

TEST(Doctor, TextSaysWhatToDo) {
  const Check some[] = {kGood, kSlow};
  const std::string text = to_text(diagnose(some));
  EXPECT_THAT(text, HasSubstr("-> do this"));
  EXPECT_THAT(text, HasSubstr("trees run here; 1 worth a look"));
}

TEST(Doctor, JsonHasEveryCheck) {
  const Check some[] = {kGood, kSlow, kError};
  const Json json = to_json(diagnose(some));
  EXPECT_EQ(json["verdict"], "fail");
  ASSERT_EQ(json["checks"].size(), 3u);
  EXPECT_EQ(json["checks"][1]["verdict"], "warn");
  EXPECT_EQ(json["checks"][1]["advice"], "do this");
}

TEST(DoctorProcessors, OneIsFewAndAQuotaIsSaid) {
  EXPECT_EQ(judge_processors(2, std::nullopt).verdict, Verdict::kOk);
  EXPECT_EQ(judge_processors(1, std::nullopt).verdict, Verdict::kWarn);
  EXPECT_EQ(judge_processors(4, 4.0).verdict, Verdict::kOk);
  const Finding finding = judge_processors(4, 1.5);
  EXPECT_EQ(finding.verdict, Verdict::kWarn);
  EXPECT_THAT(finding.found, HasSubstr("1.5"));
}

TEST(DoctorClock, ASlowClockIsSaid) {
  EXPECT_EQ(judge_clock("tsc").verdict, Verdict::kOk);
  EXPECT_EQ(judge_clock("hpet").verdict, Verdict::kWarn);
}

TEST(DoctorMemory, TheControlGroupCounts) {
  EXPECT_EQ(judge_memory(8 * kGiB, std::nullopt, 0).verdict, Verdict::kOk);
  EXPECT_EQ(judge_memory(kGiB / 2, std::nullopt, 0).verdict, Verdict::kWarn);
  EXPECT_EQ(judge_memory(8 * kGiB, 4 * kGiB, 4 * kGiB).verdict, Verdict::kWarn);
  EXPECT_EQ(judge_memory(8 * kGiB, 4 * kGiB, kGiB).verdict, Verdict::kOk);
}

TEST(DoctorMemory, StrictOvercommitIsSaid) {
  EXPECT_EQ(judge_overcommit(0).verdict, Verdict::kOk);
  EXPECT_EQ(judge_overcommit(2).verdict, Verdict::kWarn);
  EXPECT_EQ(judge_overcommit(std::nullopt).verdict, Verdict::kOk);
}

TEST(DoctorMemory, CodeInMemoryMayBeForbidden) {
  EXPECT_EQ(judge_memfd_noexec(1).verdict, Verdict::kOk);
  EXPECT_EQ(judge_memfd_noexec(2).verdict, Verdict::kWarn);
}

TEST(DoctorMemory, HugePagesAreNeverNeeded) {
  EXPECT_EQ(judge_huge_pages("never", "never").verdict, Verdict::kOk);
  EXPECT_THAT(judge_huge_pages("never", "never").advice, Not(IsEmpty()));
  EXPECT_THAT(judge_huge_pages("madvise", "advise").advice, IsEmpty());
}

TEST(DoctorLimits, ProcessesLeft) {
  EXPECT_EQ(judge_processes("pids.max", std::nullopt, 5).verdict, Verdict::kOk);
  EXPECT_EQ(judge_processes("pids.max", 100'000, 500).verdict, Verdict::kOk);
  EXPECT_EQ(judge_processes("pids.max", 600, 500).verdict, Verdict::kWarn);
  EXPECT_EQ(judge_processes("pids.max", 500, 500).verdict, Verdict::kFail);
}

TEST(DoctorLimits, OpenFilesSayTheCommandThatHelps) {
  EXPECT_EQ(judge_open_files(20'000, 20'000).verdict, Verdict::kOk);
  EXPECT_EQ(judge_open_files(64, 64).verdict, Verdict::kFail);
  EXPECT_THAT(judge_open_files(256, 4096).advice, HasSubstr("ulimit -n 4096"));
}

}  // namespace
}  // namespace echelon::cli
