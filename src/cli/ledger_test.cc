// SPDX-License-Identifier: Apache-2.0
#include "cli/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Ledger sample_ledger() {
  Ledger ledger;
  ledger.machine.processor = "A Fine Processor";
  ledger.reports.push_back({.name = "floor",
                            .title = "ping-pong",
                            .figures = {{"floor_ns_p50", "floor", Unit::kNanoseconds, 100}}});
  ledger.reports.push_back({.name = "idle",
                            .title = "nothing to do",
                            .figures = {{"cpu_percent_max", "most", Unit::kPercent, 0.01}}});
  return ledger;
}

TEST(Ledger, JsonHasOneObjectForEachBenchmark) {
  const Json json = to_json(sample_ledger());
  EXPECT_EQ(json["machine"]["processor"], "A Fine Processor");
  EXPECT_EQ(json["floor"]["floor_ns_p50"], 100);
  EXPECT_EQ(json["idle"]["cpu_percent_max"], 0.01);
  EXPECT_EQ(json["complete"], true);
}

TEST(Ledger, TextHasEveryReport) {
  const std::string text = to_text(sample_ledger());
  EXPECT_THAT(text, HasSubstr("floor: ping-pong"));
  EXPECT_THAT(text, HasSubstr("idle: nothing to do"));
}

TEST(Ledger, MarkdownIsAWholePage) {
  const std::string text = to_markdown(sample_ledger());
  EXPECT_THAT(text, StartsWith("<!-- SPDX-License-Identifier"));
  EXPECT_THAT(text, HasSubstr("## idle"));
  EXPECT_THAT(text, HasSubstr("A Fine Processor"));
}

TEST(Benches, EachHasANameOfItsOwn) {
  std::vector<std::string> names;
  for (const Bench& bench : benches()) names.emplace_back(bench.name);
  EXPECT_THAT(names, ::testing::ElementsAre("floor", "dispatch", "engine", "idle", "startup",
                                            "death", "remote"));
}

}  // namespace
}  // namespace echelon::cli
