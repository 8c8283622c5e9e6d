// SPDX-License-Identifier: Apache-2.0
#include "csv.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>
#include <system_error>

#include <fmt/format.h>
#include <zlib.h>

namespace echelon::digits {
namespace {

constexpr std::size_t kExcerptBytesMax = 24;

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return out;
}

// A field as an error quotes it.
std::string excerpt(std::string_view text) {
  if (text.size() <= kExcerptBytesMax) return printable(text);
  return printable(text.substr(0, kExcerptBytesMax)) + "...";
}

[[noreturn]] void refuse(const std::string& name, std::string_view what) {
  throw BadData(fmt::format("{}: {}", printable(name), what));
}

[[noreturn]] void refuse(const std::string& name, std::size_t line, std::string_view what) {
  throw BadData(fmt::format("{}:{}: {}", printable(name), line, what));
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string_view unquote(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = trim(text.substr(1, text.size() - 2));
  return text;
}

void split(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const std::size_t comma = line.find(',');
    fields.push_back(unquote(trim(line.substr(0, comma))));
    if (comma == std::string_view::npos) return;
    line.remove_prefix(comma + 1);
  }
}

template <class T>
std::errc parse(std::string_view field, T& value) {
  if (field.size() > 1 && field[0] == '+' && field[1] != '-') field.remove_prefix(1);
  const char* const end = field.data() + field.size();
  const auto [stop, error] = std::from_chars(field.data(), end, value);
  return stop == end ? error : std::errc::invalid_argument;
}

bool is_number(std::string_view field) {
  double value = 0;
  return parse(field, value) != std::errc::invalid_argument;
}

// "7", and "7.0" and "7e0", too, as programs write tables of floating-point numbers.
std::optional<std::int64_t> parse_label(std::string_view field) {
  std::int64_t label = 0;
  if (parse(field, label) == std::errc{}) return label;
  double value = 0;
  constexpr double kExact = 0x1p53;
  if (parse(field, value) != std::errc{} || !(std::abs(value) <= kExact) ||
      value != std::trunc(value))
    return std::nullopt;
  return static_cast<std::int64_t>(value);
}

class Parser {
 public:
  explicit Parser(const std::string& name) : name_(name) {}

  Table parse_text(std::string_view text) {
    if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
    std::size_t number = 0;
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      ++number;
      take_line(trim(text.substr(0, end)), number);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    check_whole();
    return std::move(table_);
  }

 private:
  void take_line(std::string_view line, std::size_t number) {
    if (line.empty()) return;
    split(line, fields_);
    if (first_line_ == 0) {
      first_line_ = number;
      column_count_ = fields_.size();
      if (is_header()) return;
    }
    check_columns(number);
    for (std::size_t i = 0; i + 1 < fields_.size(); ++i) take_value(i, number);
    take_label(number);
    ++table_.rows;
  }

  bool is_header() const {
    return std::any_of(fields_.begin(), fields_.end(),
                       [](std::string_view field) { return !field.empty() && !is_number(field); });
  }

  void check_columns(std::size_t number) const {
    if (fields_.size() != column_count_) {
      refuse(name_, number,
             fmt::format("{} column{} where line {} has {}", fields_.size(),
                         fields_.size() == 1 ? "" : "s", first_line_, column_count_));
    }
    if (column_count_ < 2)
      refuse(name_, number, "one column; at least one number and then the label are needed");
  }

  void take_value(std::size_t i, std::size_t number) {
    double value = 0;
    const std::errc error = parse(fields_[i], value);
    if (fields_[i].empty()) refuse(name_, number, fmt::format("column {} is empty", i + 1));
    const char* what = nullptr;
    if (error == std::errc::result_out_of_range)
      what = "is beyond what a number can be";
    else if (error != std::errc{})
      what = "is not a number";
    else if (!std::isfinite(value))
      what = "is not a finite number";
    if (what != nullptr)
      refuse(name_, number, fmt::format("column {}: '{}' {}", i + 1, excerpt(fields_[i]), what));
    table_.values.push_back(value);
  }

  void take_label(std::size_t number) {
    const std::string_view field = fields_.back();
    if (field.empty()) refuse(name_, number, "the label, the last column, is empty");
    const std::optional<std::int64_t> label = parse_label(field);
    if (!label) {
      refuse(name_, number,
             fmt::format("the label, the last column, is '{}', not an integer", excerpt(field)));
    }
    table_.labels.push_back(*label);
  }

  void check_whole() {
    if (first_line_ == 0) refuse(name_, "is empty");
    if (table_.rows == 0) refuse(name_, "holds a header line and no rows");
    table_.features = column_count_ - 1;
    const auto [low, high] = std::minmax_element(table_.labels.begin(), table_.labels.end());
    if (*low == *high) {
      refuse(name_, fmt::format("every label is {}; at least two different ones are needed", *low));
    }
  }

  const std::string& name_;
  Table table_;
  std::size_t first_line_ = 0;  // of those that are not empty; 0: none yet
  std::size_t column_count_ = 0;
  std::vector<std::string_view> fields_;
};

std::string system_text(int error) {
  return std::generic_category().message(error);
}

struct CloseGz {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

// What zlib says after a read; empty if nothing is wrong.
std::string gzip_trouble(gzFile_s* file) {
  int code = Z_OK;
  const char* text = gzerror(file, &code);
  switch (code) {
    case Z_OK:
    case Z_STREAM_END:
      return {};
    case Z_ERRNO:
      return "cannot be read: " + system_text(errno);
    case Z_BUF_ERROR:
      return "is cut short: its gzip data does not end";
    case Z_DATA_ERROR:
      return "is damaged: its gzip data does not unpack";
    default:
      return std::string("cannot be read: ") + (text != nullptr ? text : "zlib failed");
  }
}

std::string read_text(const std::string& path) {
  errno = 0;
  const std::unique_ptr<gzFile_s, CloseGz> file(gzopen(path.c_str(), "rbe"));
  if (!file) refuse(path, "cannot be opened: " + system_text(errno != 0 ? errno : ENOMEM));
  std::string text;
  std::vector<char> piece(std::size_t{1} << 17);
  for (;;) {
    errno = 0;
    const int count = gzread(file.get(), piece.data(), static_cast<unsigned>(piece.size()));
    if (const std::string trouble = gzip_trouble(file.get()); !trouble.empty())
      refuse(path, trouble);
    if (count <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(count));
    if (text.size() > kTextBytesMax)
      refuse(path, fmt::format("holds more than {} MiB of text", kTextBytesMax >> 20));
  }
  if (path.ends_with(".gz") && !text.empty() && gzdirect(file.get()) != 0)
    refuse(path, "is not gzip data, though its name says so");
  return text;
}

}  // namespace

Table parse_csv(std::string_view text, const std::string& name) {
  return Parser(name).parse_text(text);
}

Table read_csv(const std::string& path) {
  return parse_csv(read_text(path), path);
}

}  // namespace echelon::digits
