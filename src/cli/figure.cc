// SPDX-License-Identifier: Apache-2.0
#include "cli/figure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace echelon::cli {
namespace {

using Row = std::array<std::string, 4>;

/// Three digits that mean something: 0.0134, 1.34, 13.4, 134, 1340.
std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size >= 100 || size == 0) return fmt::format("{:.0f}", value);
  if (size >= 10) return fmt::format("{:.1f}", value);
  if (size >= 1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

std::string with_separators(double value) {
  const std::string digits = fmt::format("{}", std::llround(std::abs(value)));
  std::string text = value < 0 ? "-" : "";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string format_duration_ns(double ns) {
  const double size = std::abs(ns);
  if (size < 1e3) return three_digits(ns) + " ns";
  if (size < 1e6) return three_digits(ns / 1e3) + " us";
  if (size < 1e9) return three_digits(ns / 1e6) + " ms";
  return three_digits(ns / 1e9) + " s";
}

std::string verdict(const Figure& figure) {
  if (!figure.target || !figure.value) return "";
  return figure.target->met_by(*figure.value) ? "met" : "NOT MET";
}

Row row_of(const Figure& figure) {
  return {figure.what, format_value(figure.value, figure.unit),
          figure.target ? format_target(*figure.target, figure.unit) : "", verdict(figure)};
}

Json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  // Four digits after the point are more than any of these figures holds.
  return std::round(value * 1e4) / 1e4;
}

}  // namespace

std::string format_value(const std::optional<double>& value, Unit unit) {
  if (!value || !std::isfinite(*value)) return "not measured";
  switch (unit) {
    case Unit::kNanoseconds:
      return format_duration_ns(*value);
    case Unit::kMicroseconds:
      return format_duration_ns(*value * 1e3);
    case Unit::kMilliseconds:
      return three_digits(*value) + " ms";
    case Unit::kPercent:
      return three_digits(*value) + " %";
    case Unit::kTimes:
      return three_digits(*value) + " x";
    case Unit::kPerSecond:
      return with_separators(*value) + " / s";
    case Unit::kBytes:
      return with_separators(*value) + " B";
    case Unit::kNone:
      break;
  }
  return three_digits(*value);
}

std::string format_target(const Target& target, Unit unit) {
  std::string text = target.kind == Target::Kind::kAtMost ? "<= " : ">= ";
  text += format_value(target.limit, unit);
  if (!target.why.empty()) text += " (" + target.why + ")";
  return text;
}

const Figure* Report::find(std::string_view key) const {
  const auto at = std::find_if(figures.begin(), figures.end(),
                               [key](const Figure& figure) { return figure.key == key; });
  return at != figures.end() ? &*at : nullptr;
}

std::optional<double> Report::ratio(std::string_view key, std::string_view by) const {
  const Figure* above = find(key);
  const Figure* below = find(by);
  if (above == nullptr || below == nullptr || !above->value || !below->value) return std::nullopt;
  if (*below->value <= 0) return std::nullopt;
  return *above->value / *below->value;
}

Json to_json(const Report& report) {
  Json json = {{"benchmark", report.name}};
  Json targets = Json::object();
  for (const Figure& figure : report.figures) {
    json[figure.key] = figure.value ? rounded(*figure.value) : Json(nullptr);
    if (!figure.target) continue;
    const bool at_most = figure.target->kind == Target::Kind::kAtMost;
    targets[figure.key] = {{at_most ? "at_most" : "at_least", rounded(figure.target->limit)},
                           {"met", figure.value && figure.target->met_by(*figure.value)}};
  }
  json["targets"] = std::move(targets);
  json["notes"] = report.notes;
  json.update(report.more);
  return json;
}

std::string to_text(const Report& report) {
  std::vector<Row> rows = {{"", "measured", "target", ""}};
  for (const Figure& figure : report.figures) rows.push_back(row_of(figure));
  std::array<std::size_t, 4> width{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string text = fmt::format("{}: {}\n", report.name, report.title);
  for (const Row& row : rows) {
    std::string line = fmt::format("  {:<{}}  {:>{}}  {:<{}}  {}", row[0], width[0], row[1],
                                   width[1], row[2], width[2], row[3]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  for (const std::string& note : report.notes) text += fmt::format("  note: {}\n", note);
  return text;
}

std::string to_markdown(const Report& report) {
  std::string text = fmt::format("## {}\n\n{}.\n\n", report.name, report.title);
  text += "| figure | key | measured | target | |\n| --- | --- | ---: | --- | --- |\n";
  for (const Figure& figure : report.figures) {
    const Row row = row_of(figure);
    text +=
        fmt::format("| {} | `{}` | {} | {} | {} |\n", row[0], figure.key, row[1], row[2], row[3]);
  }
  for (const std::string& note : report.notes) text += fmt::format("\n{}.\n", note);
  return text;
}

}  // namespace echelon::cli
