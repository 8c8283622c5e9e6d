// SPDX-License-Identifier: Apache-2.0
#include "process/output_lines.h"

#include <gtest/gtest.h>

namespace echelon {
namespace {

TEST(OutputLinesTest, HoldsALineUntilItIsWhole) {
  OutputLines lines(64);
  lines.append("one\ntw");
  EXPECT_EQ(lines.next(), "one\n");
  EXPECT_EQ(lines.next(), std::nullopt);
  lines.append("o\n");
  EXPECT_EQ(lines.next(), "two\n");
}

TEST(OutputLinesTest, PutsAsManyLinesAsFitIntoAPiece) {
  OutputLines lines(8);
  lines.append("ab\ncd\nef\n");
  EXPECT_EQ(lines.next(), "ab\ncd\n");
  EXPECT_EQ(lines.next(), "ef\n");
}

TEST(OutputLinesTest, ALineLongerThanAPieceComesInPieces) {
  OutputLines lines(4);
  lines.append("abcdefg\n");
  EXPECT_EQ(lines.next(), "abcd");
  EXPECT_EQ(lines.next(), "efg\n");
}

TEST(OutputLinesTest, TheLastLineNeedsNoNewline) {
  OutputLines lines(64);
  lines.append("one\ntwo");
  EXPECT_EQ(lines.next_at_end(), "one\n");
  EXPECT_EQ(lines.next_at_end(), "two");
  EXPECT_EQ(lines.next_at_end(), std::nullopt);
}

}  // namespace
}  // namespace echelon
