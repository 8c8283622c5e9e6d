// SPDX-License-Identifier: Apache-2.0
//
// The parameters do not depend on the tree: the same steps as the trainer's, without the runtime,
// for every number of hosts and chips.
#include <span>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "model.h"
#include "plan.h"
#include "random.h"

namespace echelon::digits {
namespace {

constexpr ModelShape kShape{6, 5, 3};
constexpr std::int64_t kRows = 150;  // two whole batches and one of 22

struct Batch {
  std::span<const float> features;
  std::span<const std::int32_t> labels;
};

std::vector<std::int64_t> sums_of(const std::vector<float>& parameters, const Batch& batch,
                                  Range rows) {
  std::vector<std::int64_t> sums(kShape.sum_count());
  Model model(kShape, parameters);
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const auto i = static_cast<std::size_t>(row);
    model.add_gradient(batch.features.subspan(i * kShape.features, kShape.features),
                       batch.labels[i], sums);
  }
  return sums;
}

void add(std::span<const std::int64_t> part, std::vector<std::int64_t>& total) {
  for (std::size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

std::vector<std::int64_t> host_sums(const std::vector<float>& parameters, const Batch& batch,
                                    Range rows, int chip_count) {
  std::vector<std::int64_t> total(kShape.sum_count());
  const int chips = busy_chips(rows.size(), chip_count);
  for (int chip = 0; chip < chips; ++chip) {
    const Range share = share_of(rows.size(), chips, chip);
    add(sums_of(parameters, batch, {rows.begin + share.begin, rows.begin + share.end}), total);
  }
  return total;
}

std::vector<float> train(const TreeShape& tree, std::int64_t rows) {
  Random random(5);
  std::vector<float> features;
  for (std::int64_t i = 0; i < kRows * 6; ++i) features.push_back(3 * random.symmetric());
  std::vector<std::int32_t> labels;
  for (std::int64_t i = 0; i < kRows; ++i)
    labels.push_back(static_cast<std::int32_t>(random.below(kShape.classes)));

  std::vector<float> parameters = initial_parameters(kShape, 1);
  std::vector<float> velocity(parameters.size());
  for (std::int64_t step = 0; step < steps_per_epoch(rows); ++step) {
    const Range batch = batch_of_step(rows, step);
    std::vector<std::int64_t> total(kShape.sum_count());
    for (int host = 0; host < tree.hosts; ++host) {
      const Range share = share_of(batch.size(), tree.hosts, host);
      add(host_sums(parameters, {features, labels},
                    {batch.begin + share.begin, batch.begin + share.end}, tree.chips),
          total);
    }
    descend(total, step_options(kShape), parameters, velocity);
  }
  return parameters;
}

class Reduction : public ::testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(Reduction, GivesTheBitsOfOneChip) {
  const auto [hosts, chips] = GetParam();
  for (const std::int64_t rows : {1, 2, 3, 5, 13, 63, 64, 65, 97, 128, 129, 150})
    EXPECT_EQ(train({hosts, chips}, rows), train({1, 1}, rows)) << rows << " rows";
}

INSTANTIATE_TEST_SUITE_P(Trees, Reduction,
                         ::testing::Combine(::testing::Range(1, 5), ::testing::Range(1, 5)),
                         [](const auto& test) {
                           return "hosts" + std::to_string(std::get<0>(test.param)) + "_chips" +
                                  std::to_string(std::get<1>(test.param));
                         });

}  // namespace
}  // namespace echelon::digits
