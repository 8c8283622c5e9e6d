// SPDX-License-Identifier: Apache-2.0
#include "chip/chip_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon {
namespace {

using testing::HasSubstr;

TEST(ChipStart, ArgumentsSayWhatTheyWereMadeOf) {
  ChipStart start;
  start.chip = {.driver = "/a b/driver.so", .device = 3, .options = {{"memory", "1=2"}, {"x", ""}}};
  start.image_count = 12;
  const auto parsed = parse_chip_arguments(chip_arguments(start));
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  EXPECT_EQ(parsed->chip, start.chip);
  EXPECT_EQ(parsed->image_count, 12u);
  EXPECT_TRUE(check_build_id(*parsed).ok());
}

TEST(ChipStart, AnotherBuildIsRefusedWithBothIds) {
  ChipStart start;
  start.build_id = "0123abcd";
  const Status status = check_build_id(start);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.reason(), Reason::kStartFailed);
  EXPECT_THAT(status.info().message, HasSubstr("0123abcd"));
  EXPECT_THAT(status.info().message, HasSubstr(std::string(build_id())));
}

TEST(ChipStart, WrongArgumentsAreNamed) {
  const auto message = [](std::vector<std::string> arguments) {
    const auto parsed = parse_chip_arguments(arguments);
    return parsed.ok() ? "" : parsed.status().info().message;
  };
  EXPECT_THAT(message({"--device", "two"}), HasSubstr("'two' is no number"));
  EXPECT_THAT(message({"--colour", "blue"}), HasSubstr("'--colour blue'"));
  EXPECT_THAT(message({"--option", "novalue"}), HasSubstr("'--option novalue'"));
  EXPECT_THAT(message({"--driver"}), HasSubstr("pairs"));
  // Without its build nothing may be touched.
  EXPECT_FALSE(check_build_id(*parse_chip_arguments({})).ok());
}

}  // namespace
}  // namespace echelon
