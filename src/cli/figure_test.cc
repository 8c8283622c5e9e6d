// SPDX-License-Identifier: Apache-2.0
#include "cli/figure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report sample_report() {
  Report report{.name = "dispatch", .title = "one task", .figures = {}};
  report.add({"floor_ns_p50", "floor", Unit::kNanoseconds, 100});
  report.add({"run_one_ns_p50", "one task", Unit::kNanoseconds, 1340,
              Target::at_most(1500, "15 x floor")});
  report.add({"tasks_per_second", "tasks", Unit::kPerSecond, 900'000, Target::at_least(1e6)});
  return report;
}

TEST(Figure, DurationsChooseTheirUnit) {
  EXPECT_EQ(format_value(64.25, Unit::kNanoseconds), "64.2 ns");
  EXPECT_EQ(format_value(1340, Unit::kNanoseconds), "1.34 us");
  EXPECT_EQ(format_value(2.5e9, Unit::kNanoseconds), "2.50 s");
  EXPECT_EQ(format_value(243, Unit::kMicroseconds), "243 us");
  EXPECT_EQ(format_value(2430, Unit::kMicroseconds), "2.43 ms");
}

TEST(Figure, LargeNumbersHaveSeparators) {
  EXPECT_EQ(format_value(1'234'567, Unit::kPerSecond), "1,234,567 / s");
  EXPECT_EQ(format_value(512, Unit::kBytes), "512 B");
}

TEST(Figure, SmallNumbersKeepTheirDigits) {
  EXPECT_EQ(format_value(0.0134, Unit::kPercent), "0.0134 %");
  EXPECT_EQ(format_value(0, Unit::kPercent), "0 %");
}

TEST(Figure, WhatWasNotMeasuredSaysSo) {
  EXPECT_EQ(format_value(std::nullopt, Unit::kNanoseconds), "not measured");
}

TEST(Figure, TargetsSayHowTheyCameAbout) {
  EXPECT_EQ(format_target(Target::at_most(1500, "15 x floor"), Unit::kNanoseconds),
            "<= 1.50 us (15 x floor)");
  EXPECT_EQ(format_target(Target::at_least(1e6), Unit::kPerSecond), ">= 1,000,000 / s");
}

TEST(Figure, ATargetIsMetAtItsLimit) {
  EXPECT_TRUE(Target::at_most(5).met_by(5));
  EXPECT_TRUE(Target::at_least(5).met_by(5));
  EXPECT_FALSE(Target::at_least(5).met_by(4.9));
}

TEST(Report, RatiosNeedBothFigures) {
  Report report = sample_report();
  EXPECT_DOUBLE_EQ(report.ratio("run_one_ns_p50", "floor_ns_p50").value(), 13.4);
  EXPECT_FALSE(report.ratio("run_one_ns_p50", "nothing"));
  report.figures[0].value = std::nullopt;
  EXPECT_FALSE(report.ratio("run_one_ns_p50", "floor_ns_p50"));
}

TEST(Report, JsonHasAKeyForEachFigureAndSaysWhichTargetsAreMet) {
  const Json json = to_json(sample_report());
  EXPECT_EQ(json["benchmark"], "dispatch");
  EXPECT_EQ(json["run_one_ns_p50"], 1340);
  EXPECT_EQ(json["targets"]["run_one_ns_p50"]["at_most"], 1500);
  EXPECT_EQ(json["targets"]["run_one_ns_p50"]["met"], true);
  EXPECT_EQ(json["targets"]["tasks_per_second"]["at_least"], 1e6);
  EXPECT_EQ(json["targets"]["tasks_per_second"]["met"], false);
  EXPECT_FALSE(json["targets"].contains("floor_ns_p50"));
}

TEST(Report, JsonOfAFigureThatWasNotMeasuredIsNullAndItsTargetUnmet) {
  Report report = sample_report();
  report.figures[1].value = std::nullopt;
  const Json json = to_json(report);
  EXPECT_TRUE(json["run_one_ns_p50"].is_null());
  EXPECT_EQ(json["targets"]["run_one_ns_p50"]["met"], false);
}

TEST(Report, TextShowsVerdictsAndNoTrailingSpaces) {
  const std::string text = to_text(sample_report());
  EXPECT_THAT(text, HasSubstr("<= 1.50 us (15 x floor)"));
  EXPECT_THAT(text, HasSubstr("NOT MET"));
  EXPECT_THAT(text, Not(HasSubstr(" \n")));
}

TEST(Report, MarkdownHasARowForEachFigure) {
  EXPECT_THAT(
      to_markdown(sample_report()),
      HasSubstr("| one task | `run_one_ns_p50` | 1.34 us | <= 1.50 us (15 x floor) | met |"));
}

}  // namespace
}  // namespace echelon::cli
