// SPDX-License-Identifier: Apache-2.0
//
// Reads a table of numbers: lines of comma-separated numbers, an integer label last.
//
// Taken as they come: a header line or none, LF or CRLF, blanks around numbers, numbers in double
// quotes, empty lines, a byte order mark, gzip. The first line is a header if one of its fields is
// neither empty nor a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace echelon::digits {

struct Table {
  std::size_t rows = 0;
  std::size_t features = 0;          // columns before the label
  std::vector<double> values;        // rows x features, row-major, finite
  std::vector<std::int64_t> labels;  // one a row
};

/// What is wrong with a file, in one line: "FILE:LINE: ..." or "FILE: ...".
struct BadData : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Unpacked text beyond this is refused.
inline constexpr std::size_t kTextBytesMax = std::size_t{1} << 30;

/// Throws BadData: cannot be read, damaged gzip, ragged, not numbers, no rows, labels all alike.
Table read_csv(const std::string& path);

/// The same of `text`; `name` is what errors call the file.
Table parse_csv(std::string_view text, const std::string& name);

}  // namespace echelon::digits
