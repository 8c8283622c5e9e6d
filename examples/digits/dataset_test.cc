// SPDX-License-Identifier: Apache-2.0
#include "dataset.h"

#include <cmath>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon::digits {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Rows 0, 1, 2, ... in the first column, constant in the second; labels in turn.
Table counting_table(std::size_t rows, const std::vector<std::int64_t>& labels) {
  Table table;
  table.rows = rows;
  table.features = 2;
  for (std::size_t i = 0; i < rows; ++i) {
    table.values.push_back(static_cast<double>(i));
    table.values.push_back(3.25);
    table.labels.push_back(labels[i % labels.size()]);
  }
  return table;
}

Table column_table(const std::vector<double>& values) {
  Table table;
  table.rows = values.size();
  table.features = 1;
  table.values = values;
  table.labels.resize(values.size());
  return table;
}

TEST(Dataset, OneRowInFiveIsHeldOut) {
  const Dataset dataset = make_dataset(counting_table(1797, {0, 1}), 42);
  EXPECT_EQ(dataset.held_out.count, 359u);
  EXPECT_EQ(dataset.training.count, 1438u);
}

TEST(Dataset, FewRowsLeaveOneForEachPart) {
  for (const std::size_t rows : {2u, 3u, 4u, 5u}) {
    const Dataset dataset = make_dataset(counting_table(rows, {0, 1}), 42);
    EXPECT_EQ(dataset.held_out.count, 1u) << rows;
    EXPECT_EQ(dataset.training.count, rows - 1) << rows;
  }
}

TEST(Dataset, EveryRowIsInOnePart) {
  const Dataset dataset = make_dataset(counting_table(100, {0, 1}), 42);
  std::set<float> seen;
  for (const Rows* rows : {&dataset.training, &dataset.held_out}) {
    for (std::size_t i = 0; i < rows->count; ++i) seen.insert(rows->features[2 * i]);
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(Dataset, TheSeedDecidesTheSplit) {
  const Table table = counting_table(100, {0, 1});
  EXPECT_EQ(make_dataset(table, 1).held_out.features, make_dataset(table, 1).held_out.features);
  EXPECT_NE(make_dataset(table, 1).held_out.features, make_dataset(table, 2).held_out.features);
}

TEST(Dataset, LabelsBecomeClassesInOrder) {
  const Dataset dataset = make_dataset(counting_table(30, {100, -5, 7}), 42);
  EXPECT_THAT(dataset.classes, ElementsAre(-5, 7, 100));
  const std::set<std::int32_t> numbers(dataset.training.labels.begin(),
                                       dataset.training.labels.end());
  EXPECT_THAT(numbers, ElementsAre(0, 1, 2));
}

TEST(Dataset, TrainingPartHasMeanZeroAndDeviationOne) {
  const Dataset dataset = make_dataset(counting_table(1000, {0, 1}), 42);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < dataset.training.count; ++i) {
    const double value = dataset.training.features[2 * i];
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(dataset.training.count);
  EXPECT_NEAR(sum / count, 0.0, 1e-5);
  EXPECT_NEAR(squares / count, 1.0, 1e-5);
}

TEST(Dataset, ConstantColumnIsZeroEverywhere) {
  const Dataset dataset = make_dataset(counting_table(50, {0, 1}), 42);
  for (const Rows* rows : {&dataset.training, &dataset.held_out}) {
    for (std::size_t i = 0; i < rows->count; ++i) EXPECT_EQ(rows->features[2 * i + 1], 0.0f);
  }
}

TEST(Standardiser, LooksAtTheGivenRowsAlone) {
  const Table table = column_table({1.0, 3.0, 1e9});
  const Standardiser standardiser(table, {0, 1});
  EXPECT_FLOAT_EQ(standardiser.apply(0, 1.0), -1.0f);
  EXPECT_FLOAT_EQ(standardiser.apply(0, 3.0), 1.0f);
}

TEST(Standardiser, OutliersAreCutOff) {
  const Standardiser standardiser(column_table({1.0, 3.0}), {0, 1});
  EXPECT_EQ(standardiser.apply(0, 1e9), static_cast<float>(kFeatureMax));
  EXPECT_EQ(standardiser.apply(0, -1e9), static_cast<float>(-kFeatureMax));
}

TEST(Standardiser, ValueUnlikeAConstantColumnIsZero) {
  const Standardiser standardiser(column_table({0.1, 0.1, 0.1}), {0, 1, 2});
  EXPECT_EQ(standardiser.apply(0, 0.1), 0.0f);
  EXPECT_EQ(standardiser.apply(0, 99.0), 0.0f);
}

TEST(Standardiser, LargestAndSmallestNumbersStayFinite) {
  for (const double value : {1.7e308, 5e-324, 1e-300}) {
    const Standardiser standardiser(column_table({-value, 0.0, value}), {0, 1, 2});
    for (const double x : {-value, 0.0, value, 1.7e308, -1.7e308})
      EXPECT_TRUE(std::isfinite(standardiser.apply(0, x))) << value << " " << x;
  }
}

}  // namespace
}  // namespace echelon::digits
