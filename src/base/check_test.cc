// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "base/ids.h"

namespace echelon {
namespace {

TEST(Check, PassesWithoutEvaluatingItsValues) {
  int evaluated = 0;
  ECHELON_CHECK(true, ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST(CheckDeathTest, PrintsConditionAndPlace) {
  EXPECT_DEATH(ECHELON_CHECK(1 + 1 == 3), "internal error at check_test.cc:[0-9]+: 1 \\+ 1 == 3");
}

TEST(CheckDeathTest, PrintsValuesOfEveryKind) {
  enum class Colour : std::uint8_t { kRed = 7 };
  const std::string text = "why";
  EXPECT_DEATH(
      ECHELON_CHECK(false, -5, 18446744073709551615ull, true, 0.5, text, Colour::kRed, Uid{42}),
      "\\[-5, 18446744073709551615, 1, 0.5, \"why\", 7, 42\\]");
}

TEST(CheckDeathTest, TellsTheHookBeforeItAborts) {
  set_check_hook([](std::string_view text) {
    const std::string line = "HOOK<" + std::string(text) + ">";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  });
  EXPECT_DEATH(ECHELON_CHECK(false, 9), "HOOK<echelon: internal error .*\\[9\\]>");
  set_check_hook(nullptr);
}

}  // namespace
}  // namespace echelon
