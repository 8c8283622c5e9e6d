// SPDX-License-Identifier: Apache-2.0
//
// What the classifier learns from: a table, split into a training part and a held-out part, its
// features standardised, its labels numbered as classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csv.h"

namespace echelon::digits {

struct Rows {
  std::size_t count = 0;
  std::vector<float> features;       // count x features, row-major
  std::vector<std::int32_t> labels;  // class numbers
};

struct Dataset {
  std::size_t features = 0;
  std::vector<std::int64_t> classes;  // class number to label, ascending
  Rows training;                      // at least one row
  Rows held_out;                      // at least one row
};

/// One row in five is held out, one at least.
inline constexpr std::size_t kHeldOutOneIn = 5;
/// Standardised features are cut off here, so that one outlier cannot undo the training.
inline constexpr double kFeatureMax = 5.0;

/// Mean and spread of each column, over the training rows alone.
class Standardiser {
 public:
  /// `rows`: which rows of `table` are the training part. REQUIRES: at least one.
  Standardiser(const Table& table, const std::vector<std::int32_t>& rows);
  /// (value - mean) / standard deviation, cut off at kFeatureMax; 0 where the column is constant.
  float apply(std::size_t column, double value) const;

 private:
  // Halved values shifted by `low` and divided by `range` lie in [0, 1]: nothing overflows.
  struct Column {
    double low = 0;
    double range = 0;  // 0: constant
    double mean = 0;
    double deviation = 1;
  };
  static Column measure(const Table& table, const std::vector<std::int32_t>& rows,
                        std::size_t column);

  std::vector<Column> columns_;
};

/// `seed` decides which rows are held out. REQUIRES: at least two rows.
Dataset make_dataset(const Table& table, std::uint64_t seed);

}  // namespace echelon::digits
