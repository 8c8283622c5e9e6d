// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::cli {
namespace {

using ::testing::HasSubstr;

TEST(Machine, BytesChooseTheirUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::uint64_t{512} << 20), "512 MiB");
  EXPECT_EQ(format_bytes(std::uint64_t{24} << 30), "24.0 GiB");
}

TEST(Machine, KnowsProcessorsAndMemory) {
  const Machine machine = this_machine();
  EXPECT_GE(machine.processors, 1u);
  EXPECT_GT(machine.memory_bytes, 0u);
  EXPECT_THAT(machine.kernel, HasSubstr("Linux"));
}

TEST(Machine, DescriptionSaysWhatCounts) {
  Machine machine;
  machine.processor = "A Fine Processor";
  machine.architecture = "x86_64";
  machine.processors = 1;
  machine.kernel = "Linux 6.1";
  machine.memory_bytes = std::uint64_t{8} << 30;
  machine.hypervisor = "virtual machine";
  EXPECT_EQ(describe(machine),
            "A Fine Processor, 1 processor, 8.0 GiB, Linux 6.1 x86_64 (virtual machine)");
}

}  // namespace
}  // namespace echelon::cli
