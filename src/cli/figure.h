// SPDX-License-Identifier: Apache-2.0
//
// What a benchmark found, and how it is printed: as a table for people, as JSON, as Markdown for
// docs/ledger.md. A target is printed beside its figure; whether it is met decides nothing here.
//
// JSON of one report: {"benchmark": name, key: number | null ..., "targets": {key: {"at_most" |
// "at_least": number, "met": bool}}, "notes": [text], and whatever the benchmark has beyond}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace echelon::cli {

using Json = nlohmann::ordered_json;

enum class Unit {
  kNone,
  kNanoseconds,
  kMicroseconds,
  kMilliseconds,
  kPercent,
  kTimes,
  kPerSecond,
  kBytes,
};

struct Target {
  enum class Kind { kAtMost, kAtLeast } kind = Kind::kAtMost;
  double limit = 0;
  /// How the limit came about, where it is not a constant: "15 x floor".
  std::string why = {};

  static Target at_most(double limit, std::string why = {}) {
    return {Kind::kAtMost, limit, std::move(why)};
  }
  static Target at_least(double limit, std::string why = {}) {
    return {Kind::kAtLeast, limit, std::move(why)};
  }
  bool met_by(double value) const {
    return kind == Kind::kAtMost ? value <= limit : value >= limit;
  }
};

struct Figure {
  std::string key;   // in JSON: "run_one_ns_p50"
  std::string what;  // in the table: "run() of one empty task, p50"
  Unit unit = Unit::kNone;
  std::optional<double> value;  // nullopt: not measured; the report's notes say why
  std::optional<Target> target = std::nullopt;
};

/// "1.34 us", "12.0 ms", "1,234,567 / s", "11.9 x", "0.013 %", "not measured".
std::string format_value(const std::optional<double>& value, Unit unit);
/// "<= 1.65 us (15 x floor)".
std::string format_target(const Target& target, Unit unit);

struct Report {
  std::string name;   // "dispatch"
  std::string title;  // one line on what is measured
  std::vector<Figure> figures;
  std::vector<std::string> notes = {};
  Json more = Json::object();  // beyond the figures, in JSON alone

  void add(Figure figure) { figures.push_back(std::move(figure)); }
  /// nullptr: no such figure.
  const Figure* find(std::string_view key) const;
  /// Values of two figures divided, where both were measured and the divisor is above zero.
  std::optional<double> ratio(std::string_view key, std::string_view by) const;
};

Json to_json(const Report& report);
/// A table with a headline, ending in a newline.
std::string to_text(const Report& report);
/// A section with a Markdown table, ending in a newline.
std::string to_markdown(const Report& report);

}  // namespace echelon::cli
