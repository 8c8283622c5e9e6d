// SPDX-License-Identifier: Apache-2.0
#include "csv.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

namespace echelon::digits {
namespace {

using ::testing::ElementsAre;

// --- what is taken ------------------------------------------------------------------------------

struct Good {
  const char* name;
  std::string text;
};

class GoodText : public ::testing::TestWithParam<Good> {};

TEST_P(GoodText, IsTheSameTable) {
  const Table table = parse_csv(GetParam().text, "t.csv");
  EXPECT_EQ(table.rows, 2u);
  EXPECT_EQ(table.features, 2u);
  EXPECT_THAT(table.values, ElementsAre(1.5, -2.0, 0.25, 40.0));
  EXPECT_THAT(table.labels, ElementsAre(7, -5));
}

INSTANTIATE_TEST_SUITE_P(
    Csv, GoodText,
    ::testing::Values(Good{"plain", "1.5,-2,7\n0.25,40,-5\n"},
                      Good{"no_last_line_end", "1.5,-2,7\n0.25,40,-5"},
                      Good{"header", "a,b,label\n1.5,-2,7\n0.25,40,-5\n"},
                      Good{"header_with_numbers", "0,1,label\n1.5,-2,7\n0.25,40,-5\n"},
                      Good{"crlf", "a,b,label\r\n1.5,-2,7\r\n0.25,40,-5\r\n"},
                      Good{"blanks", "1.5 , -2,\t7\n 0.25,40, -5 \n"},
                      Good{"quotes", "\"a\",\"b\",\"c\"\n\"1.5\",\"-2\",7\n0.25,40,\"-5\"\n"},
                      Good{"empty_lines", "\n1.5,-2,7\n\n\r\n0.25,40,-5\n\n"},
                      Good{"byte_order_mark",
                           "\xef\xbb\xbf"
                           "1.5,-2,7\n0.25,40,-5\n"},
                      Good{"exponents_and_plus", "+15e-1,-2.0E0,+7\n2.5e-1,4e1,-5\n"},
                      Good{"whole_numbers_as_floats", "1.5,-2,7.0\n0.25,40,-5e0\n"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Csv, LabelsReachTheEndsOf64Bits) {
  const Table table = parse_csv("1,9223372036854775807\n2,-9223372036854775808\n", "t.csv");
  EXPECT_THAT(table.labels, ElementsAre(INT64_MAX, INT64_MIN));
}

// --- what is refused ----------------------------------------------------------------------------

struct Bad {
  const char* name;
  std::string text;
  std::string message;
};

class BadText : public ::testing::TestWithParam<Bad> {};

TEST_P(BadText, IsRefusedInOneLine) {
  try {
    parse_csv(GetParam().text, "t.csv");
    FAIL() << "was taken";
  } catch (const BadData& error) {
    EXPECT_EQ(error.what(), GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Csv, BadText,
    ::testing::Values(
        Bad{"empty", "", "t.csv: is empty"},  //
        Bad{"blank", "\n \r\n", "t.csv: is empty"},
        Bad{"header_only", "a,b,c\n", "t.csv: holds a header line and no rows"},
        Bad{"short_line", "1,2,3\n1,2\n", "t.csv:2: 2 columns where line 1 has 3"},
        Bad{"long_line", "1,2,3\n1,2,3,4\n", "t.csv:2: 4 columns where line 1 has 3"},
        Bad{"ragged_header", "a,b\n1,2,3\n", "t.csv:2: 3 columns where line 1 has 2"},
        Bad{"ragged_after_empty_line", "\n1,2,3\n\n1\n", "t.csv:4: 1 column where line 2 has 3"},
        Bad{"word", "1,2,3\n1,two,3\n", "t.csv:2: column 2: 'two' is not a number"},
        Bad{"trailing_text", "1,2,3\n1,2x,3\n", "t.csv:2: column 2: '2x' is not a number"},
        Bad{"long_word", "1,2\n" + std::string(40, 'a') + ",2\n",
            "t.csv:2: column 1: 'aaaaaaaaaaaaaaaaaaaaaaaa...' is not a number"},
        Bad{"control_bytes", std::string("1,2\n\x01\x00,2\n", 9),
            "t.csv:2: column 1: '\?\?' is not a number"},
        Bad{"missing_value", "1,2,3\n1,,3\n", "t.csv:2: column 2 is empty"},
        Bad{"missing_value_in_line_1", "1,,3\n", "t.csv:1: column 2 is empty"},
        Bad{"not_a_number", "1,nan,3\n", "t.csv:1: column 2: 'nan' is not a finite number"},
        Bad{"infinite", "1,-inf,3\n", "t.csv:1: column 2: '-inf' is not a finite number"},
        Bad{"too_large", "1,1e999,3\n",
            "t.csv:1: column 2: '1e999' is beyond what a number can be"},
        Bad{"broken_label", "1,1.5\n",
            "t.csv:1: the label, the last column, is '1.5', not an integer"},
        Bad{"huge_label", "1,9223372036854775808\n",
            "t.csv:1: the label, the last column, is '9223372036854775808', not an integer"},
        Bad{"word_label", "1,2\n1,cat\n",
            "t.csv:2: the label, the last column, is 'cat', not an integer"},
        Bad{"nan_label", "1,2\n1,nan\n",
            "t.csv:2: the label, the last column, is 'nan', not an integer"},
        Bad{"empty_label", "1,2\n1,\n", "t.csv:2: the label, the last column, is empty"},
        Bad{"one_column", "1\n2\n",
            "t.csv:1: one column; at least one number and then the label are needed"},
        Bad{"one_class", "1,7\n2,7\n",
            "t.csv: every label is 7; at least two different ones are needed"},
        Bad{"one_row", "1,-3\n",
            "t.csv: every label is -3; at least two different ones are needed"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Csv, NamesStayOnOneLine) {
  try {
    parse_csv("", "a\nb");
    FAIL() << "was taken";
  } catch (const BadData& error) {
    EXPECT_STREQ(error.what(), "a?b: is empty");
  }
}

// --- files --------------------------------------------------------------------------------------

class CsvFile : public ::testing::Test {
 protected:
  CsvFile() {
    std::string name = (std::filesystem::temp_directory_path() / "digits.XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~CsvFile() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  static std::string refusal(const std::string& path) {
    try {
      read_csv(path);
    } catch (const BadData& error) {
      return error.what();
    }
    return "was taken";
  }

  // Of a table of 1,000 rows.
  std::string gzipped() const {
    const gzFile file = gzopen(path("whole.csv.gz").c_str(), "wb");
    for (int i = 0; i < 1000; ++i) gzprintf(file, "%d,%d,%d\n", i * 7919 % 10007, i, i % 3);
    gzclose(file);
    std::ifstream in(path("whole.csv.gz"), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path folder_;
};

TEST_F(CsvFile, PlainTextIsRead) {
  EXPECT_EQ(read_csv(write("t.csv", "1,2\n3,4\n")).rows, 2u);
}

TEST_F(CsvFile, GzipIsReadWhateverItsName) {
  const std::string bytes = gzipped();
  EXPECT_EQ(read_csv(path("whole.csv.gz")).rows, 1000u);
  EXPECT_EQ(read_csv(write("t.csv", bytes)).rows, 1000u);
}

TEST_F(CsvFile, MissingFile) {
  EXPECT_EQ(refusal(path("none.csv")),
            path("none.csv") + ": cannot be opened: No such file or directory");
}

TEST_F(CsvFile, Folder) {
  EXPECT_EQ(refusal(folder_.string()), folder_.string() + ": cannot be read: Is a directory");
}

TEST_F(CsvFile, EmptyGzipNameWithoutBytes) {
  const std::string file = write("t.csv.gz", "");
  EXPECT_EQ(refusal(file), file + ": is empty");
}

TEST_F(CsvFile, CutGzip) {
  const std::string bytes = gzipped();
  const std::string file = write("t.csv.gz", bytes.substr(0, bytes.size() / 2));
  EXPECT_EQ(refusal(file), file + ": is cut short: its gzip data does not end");
}

TEST_F(CsvFile, DamagedGzip) {
  std::string bytes = gzipped();
  for (std::size_t i = bytes.size() / 2; i < bytes.size() / 2 + 40; ++i) bytes[i] = '\x55';
  const std::string file = write("t.csv.gz", bytes);
  EXPECT_EQ(refusal(file), file + ": is damaged: its gzip data does not unpack");
}

TEST_F(CsvFile, TextWithAGzipName) {
  const std::string file = write("t.csv.gz", "1,2\n3,4\n");
  EXPECT_EQ(refusal(file), file + ": is not gzip data, though its name says so");
}

}  // namespace
}  // namespace echelon::digits
