// SPDX-License-Identifier: Apache-2.0
#include "dataset.h"

#include <algorithm>
#include <cmath>

#include "random.h"

namespace echelon::digits {
namespace {

constexpr std::uint64_t kSplitStream = ~std::uint64_t{0};  // beyond the streams of the epochs

double value_at(const Table& table, std::int32_t row, std::size_t column) {
  return table.values[static_cast<std::size_t>(row) * table.features + column];
}

std::vector<std::int64_t> distinct(std::vector<std::int64_t> labels) {
  std::sort(labels.begin(), labels.end());
  labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
  return labels;
}

Rows gather(const Table& table, const std::vector<std::int32_t>& rows,
            const Standardiser& standardiser, const std::vector<std::int64_t>& classes) {
  Rows out;
  out.count = rows.size();
  out.features.reserve(rows.size() * table.features);
  out.labels.reserve(rows.size());
  for (const std::int32_t row : rows) {
    for (std::size_t column = 0; column < table.features; ++column)
      out.features.push_back(standardiser.apply(column, value_at(table, row, column)));
    const std::int64_t label = table.labels[static_cast<std::size_t>(row)];
    const auto found = std::lower_bound(classes.begin(), classes.end(), label);
    out.labels.push_back(static_cast<std::int32_t>(found - classes.begin()));
  }
  return out;
}

}  // namespace

Standardiser::Standardiser(const Table& table, const std::vector<std::int32_t>& rows) {
  columns_.reserve(table.features);
  for (std::size_t column = 0; column < table.features; ++column)
    columns_.push_back(measure(table, rows, column));
}

Standardiser::Column Standardiser::measure(const Table& table,
                                           const std::vector<std::int32_t>& rows,
                                           std::size_t column) {
  Column out;
  out.low = value_at(table, rows.front(), column) / 2;
  double high = out.low;
  for (const std::int32_t row : rows) {
    out.low = std::min(out.low, value_at(table, row, column) / 2);
    high = std::max(high, value_at(table, row, column) / 2);
  }
  out.range = high - out.low;
  if (out.range == 0) return out;
  const auto count = static_cast<double>(rows.size());
  for (const std::int32_t row : rows)
    out.mean += (value_at(table, row, column) / 2 - out.low) / out.range;
  out.mean /= count;
  double squares = 0;
  for (const std::int32_t row : rows) {
    const double off = (value_at(table, row, column) / 2 - out.low) / out.range - out.mean;
    squares += off * off;
  }
  out.deviation = std::sqrt(squares / count);
  return out;
}

float Standardiser::apply(std::size_t column, double value) const {
  const Column& c = columns_[column];
  if (c.range == 0) return 0.0f;
  const double scaled = ((value / 2 - c.low) / c.range - c.mean) / c.deviation;
  return static_cast<float>(std::clamp(scaled, -kFeatureMax, kFeatureMax));
}

Dataset make_dataset(const Table& table, std::uint64_t seed) {
  const std::size_t held_out_count =
      std::max<std::size_t>(1, (table.rows + kHeldOutOneIn / 2) / kHeldOutOneIn);
  const std::vector<std::int32_t> order =
      permutation(static_cast<std::int64_t>(table.rows), seed, kSplitStream);
  const auto border = order.begin() + static_cast<std::ptrdiff_t>(held_out_count);
  const std::vector<std::int32_t> held_out(order.begin(), border), training(border, order.end());
  const Standardiser standardiser(table, training);

  Dataset dataset;
  dataset.features = table.features;
  dataset.classes = distinct(table.labels);
  dataset.training = gather(table, training, standardiser, dataset.classes);
  dataset.held_out = gather(table, held_out, standardiser, dataset.classes);
  return dataset;
}

}  // namespace echelon::digits
