// SPDX-License-Identifier: Apache-2.0
#include "cli/proc_text.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace echelon::cli {
namespace {

TEST(ProcText, NumbersAreWholeOrNothing) {
  EXPECT_EQ(parse_number(" 42\n"), 42);
  EXPECT_EQ(parse_number("-7"), -7);
  EXPECT_FALSE(parse_number("max"));
  EXPECT_FALSE(parse_number("12 kB"));
  EXPECT_FALSE(parse_number(""));
}

TEST(ProcText, MeminfoIsInBytes) {
  const char* text =
      "MemTotal:       24000000 kB\nMemAvailable:   1000 kB\nHugePages_Total:       3\n";
  EXPECT_EQ(meminfo_bytes(text, "MemAvailable"), 1'024'000u);
  EXPECT_EQ(meminfo_bytes(text, "HugePages_Total"), 3u);
  EXPECT_FALSE(meminfo_bytes(text, "Mem"));
}

TEST(ProcText, CpuinfoNamesAreTrimmed) {
  EXPECT_EQ(cpuinfo_value("processor\t: 0\nmodel name\t: A Fine Processor\n", "model name"),
            "A Fine Processor");
  EXPECT_FALSE(cpuinfo_value("processor : 0\n", "model name"));
}

TEST(ProcText, TheChosenWordStandsInBrackets) {
  EXPECT_EQ(bracketed("always [madvise] never"), "madvise");
  EXPECT_FALSE(bracketed("madvise"));
  EXPECT_FALSE(bracketed("[madvise"));
}

TEST(ProcText, CpuQuotaInProcessors) {
  EXPECT_EQ(cpu_max_processors("150000 100000"), 1.5);
  EXPECT_FALSE(cpu_max_processors("max 100000"));
  EXPECT_FALSE(cpu_max_processors("nonsense"));
}

TEST(ProcText, CgroupFolders) {
  const char* text = "4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/d\n";
  EXPECT_EQ(cgroup_folder(text, "memory"), "/a/b");
  EXPECT_EQ(cgroup_folder(text, "cpuacct"), "/c");
  EXPECT_EQ(cgroup_folder(text, ""), "/d");
  EXPECT_FALSE(cgroup_folder(text, "pids"));
}

TEST(ProcText, ACommandMayHoldBracketsAndSpaces) {
  const auto stat = parse_stat("71 (a ) (b) c) S 12 71 71 0 -1");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->pid, 71);
  EXPECT_EQ(stat->command, "a ) (b) c");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, 12);
}

TEST(ProcText, AStatThatIsNone) {
  EXPECT_FALSE(parse_stat(""));
  EXPECT_FALSE(parse_stat("71 (x"));
  EXPECT_FALSE(parse_stat("71 (x) S"));
}

TEST(ProcText, OwnStatNamesTheParent) {
  const auto stat = parse_stat(read_text("/proc/self/stat").value_or(""));
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->parent, getppid());
}

TEST(ProcText, KernelVersionsCompare) {
  EXPECT_EQ(kernel_version("5.16.3-amd64"), 5016);
  EXPECT_GT(kernel_version("6.1.0"), kernel_version("5.16"));
  EXPECT_EQ(kernel_version("unknown"), 0);
}

TEST(ProcText, AMissingFileIsNothing) {
  EXPECT_FALSE(read_text("/proc/no such file"));
}

}  // namespace
}  // namespace echelon::cli
