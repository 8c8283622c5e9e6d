// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <chrono>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace echelon::digits {
namespace {

using ::testing::HasSubstr;

NodeInfo node(const std::string& name, const std::string& kind, std::uint64_t tasks) {
  NodeInfo info;
  info.name = name;
  info.kind = kind;
  info.tasks = tasks;
  info.busy = std::chrono::milliseconds(250);
  info.up = std::chrono::seconds(1);
  info.bytes_in = 1'500'000;
  info.bytes_out = 12;
  return info;
}

NodeInfo small_tree() {
  NodeInfo pod = node("pod0", "worker", 1), host = node("host0", "worker", 20);
  host.children = {node("chip0", "chip", 300)};
  pod.children = {node("sub0", "sub", 4000), host};
  return pod;
}

Summary small_summary() {
  Summary summary;
  summary.last = {3, 0.5, 90, 100, 1000.0};
  summary.parameters_sha256 = "ab";
  summary.identical_to_one_chip = true;
  summary.seconds = 2.0;
  summary.tree = small_tree();
  return summary;
}

TEST(Report, DigestIsThatOfLittleEndianFloats) {
  // printf '\x00\x00\x80\x3f\x00\x00\x00\xc0' | sha256sum
  EXPECT_EQ(parameters_sha256(std::vector<float>{1.0f, -2.0f}),
            "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b");
}

TEST(Report, DigestTellsTheZeroesApart) {
  EXPECT_NE(parameters_sha256(std::vector<float>{0.0f}),
            parameters_sha256(std::vector<float>{-0.0f}));
}

TEST(Report, TasksAreThoseOfAllNodes) {
  EXPECT_EQ(total_tasks(small_tree()), 4321u);
}

TEST(Report, EpochLine) {
  EXPECT_EQ(epoch_line({3, 0.05123, 345, 359, 5123.4}, 25),
            "epoch  3/25   loss 0.0512   held-out accuracy 96.10 %   5123 tasks/s");
}

TEST(Report, TableHasALineANode) {
  EXPECT_EQ(node_table(small_tree()),
            "node       kind        tasks  busy %        read     written\n"
            "pod0       worker          1    25.0      1.5 MB        12 B\n"
            "  sub0     sub          4000    25.0      1.5 MB        12 B\n"
            "  host0    worker         20    25.0      1.5 MB        12 B\n"
            "    chip0  chip          300    25.0      1.5 MB        12 B\n");
}

TEST(Report, ProgressLine) {
  EXPECT_EQ(progress_line("training", 1, 3), "training  [##########--------------------]  33 %");
  EXPECT_EQ(progress_line("training", 3, 3), "training  [##############################] 100 %");
}

TEST(Report, JsonHasTheFiguresAndTheTree) {
  const nlohmann::json json = nlohmann::json::parse(summary_json(small_summary()));
  EXPECT_EQ(json["accuracy"], 0.9);
  EXPECT_EQ(json["identical_to_one_chip"], true);
  EXPECT_EQ(json["parameters_sha256"], "ab");
  EXPECT_EQ(json["tasks"], 4321);
  EXPECT_EQ(json["tasks_per_second"], 2160.5);
  EXPECT_EQ(json["seconds"], 2.0);
  EXPECT_EQ(json["tree"]["children"][1]["children"][0]["name"], "chip0");
}

TEST(Report, TextSaysWhetherTheReferenceAgrees) {
  Summary summary = small_summary();
  EXPECT_THAT(summary_text(summary), HasSubstr("the same parameters, bit for bit"));
  summary.identical_to_one_chip = false;
  EXPECT_THAT(summary_text(summary), HasSubstr("DIFFERENT parameters"));
}

TEST(ProgressBar, IsSilentWhereThereIsNoTerminal) {
  std::FILE* const file = std::tmpfile();
  {
    ProgressBar bar(file, "training", 2);
    bar.advance();
    bar.advance();
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace echelon::digits
