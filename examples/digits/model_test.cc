// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixed_point.h"

namespace echelon::digits {
namespace {

constexpr ModelShape kShape{5, 7, 3};

// The loss once more, in double precision and as the textbook has it.
double loss_of(const ModelShape& shape, const std::vector<double>& p, const std::vector<float>& x,
               std::size_t label) {
  const double* const weights1 = p.data();
  const double* const biases1 = weights1 + shape.features * shape.hidden;
  const double* const weights2 = biases1 + shape.hidden;
  const double* const biases2 = weights2 + shape.hidden * shape.classes;
  std::vector<double> scores(biases2, biases2 + shape.classes);
  for (std::size_t h = 0; h < shape.hidden; ++h) {
    double value = biases1[h];
    for (std::size_t f = 0; f < shape.features; ++f)
      value += static_cast<double>(x[f]) * weights1[f * shape.hidden + h];
    for (std::size_t c = 0; c < shape.classes; ++c)
      scores[c] += std::max(value, 0.0) * weights2[h * shape.classes + c];
  }
  double sum = 0;
  for (const double score : scores) sum += std::exp(score);
  return std::log(sum) - scores[label];
}

TEST(Model, GradientIsTheSlopeOfTheLoss) {
  const std::vector<float> parameters = initial_parameters(kShape, 3);
  const std::vector<float> x = {0.5f, -1.25f, 0.0f, 2.0f, -0.75f};
  std::vector<std::int64_t> sums(kShape.sum_count());
  Model(kShape, parameters).add_gradient(x, 1, sums);

  const std::vector<double> exact(parameters.begin(), parameters.end());
  constexpr double kDelta = 1e-5;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    std::vector<double> up = exact, down = exact;
    up[i] += kDelta;
    down[i] -= kDelta;
    const double slope = (loss_of(kShape, up, x, 1) - loss_of(kShape, down, x, 1)) / (2 * kDelta);
    EXPECT_NEAR(from_fixed(sums[i]), slope, 1e-5) << "parameter " << i;
  }
  EXPECT_NEAR(from_fixed(sums[exact.size()]), loss_of(kShape, exact, x, 1), 1e-5);
  EXPECT_EQ(sums[exact.size() + 1], 1);
}

TEST(Model, GradientsAddUp) {
  const std::vector<float> parameters = initial_parameters(kShape, 3);
  Model model(kShape, parameters);
  const std::vector<float> x = {1, 2, 3, 4, 5};
  std::vector<std::int64_t> once(kShape.sum_count()), twice(kShape.sum_count());
  model.add_gradient(x, 2, once);
  model.add_gradient(x, 2, twice);
  model.add_gradient(x, 2, twice);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(twice[i], 2 * once[i]);
}

TEST(Model, HugeScoresGiveAFiniteLoss) {
  std::vector<float> parameters = initial_parameters(kShape, 3);
  for (float& parameter : parameters) parameter *= 1e6f;
  std::vector<std::int64_t> sums(kShape.sum_count());
  Model(kShape, parameters).add_gradient(std::vector<float>{1, 2, 3, 4, 5}, 0, sums);
  EXPECT_EQ(sums.back(), 1);
  for (const std::int64_t sum : sums) EXPECT_LE(std::abs(sum), std::int64_t{1} << 56);
}

TEST(Model, PredictsTheHighestScore) {
  const ModelShape shape{1, 1, 3};
  const std::vector<float> parameters = {0, 0, 0, 0, 0, 0.5f, 2.0f, 1.0f};
  EXPECT_EQ(Model(shape, parameters).predict(std::vector<float>{1}), 1);
}

TEST(Model, ParametersStartTheSameForASeed) {
  EXPECT_EQ(initial_parameters(kShape, 1), initial_parameters(kShape, 1));
  EXPECT_NE(initial_parameters(kShape, 1), initial_parameters(kShape, 2));
}

TEST(Descend, GoesDownByTheMean) {
  std::vector<float> parameters = {1.0f}, velocity = {0.0f};
  const std::vector<std::int64_t> sums = {to_fixed(4.0f), to_fixed(3.0f), 2};
  const BatchLoss loss = descend(sums, {0.5f, 0.0f}, parameters, velocity);
  EXPECT_FLOAT_EQ(parameters[0], 1.0f - 0.5f * 2.0f);
  EXPECT_DOUBLE_EQ(loss.loss_sum, 3.0);
  EXPECT_DOUBLE_EQ(loss.samples, 2.0);
}

TEST(Descend, MomentumCarriesOn) {
  std::vector<float> parameters = {0.0f}, velocity = {1.0f};
  descend(std::vector<std::int64_t>{0, 0, 1}, {0.5f, 0.25f}, parameters, velocity);
  EXPECT_FLOAT_EQ(velocity[0], 0.25f);
  EXPECT_FLOAT_EQ(parameters[0], 0.25f);
}

TEST(StepOptions, RateFallsWithManyFeatures) {
  EXPECT_EQ(step_options({1, 8, 2}).rate, step_options({64, 8, 2}).rate);
  EXPECT_FLOAT_EQ(step_options({1280, 8, 2}).rate, step_options({64, 8, 2}).rate / 10);
}

TEST(ExpNegative, AgreesWithTheLibrary) {
  for (float x = 0.0f; x > -87.0f; x -= 0.0137f) {
    const double exact = std::exp(static_cast<double>(x));
    EXPECT_NEAR(exp_negative(x), exact, 2e-7 * exact) << x;
  }
}

TEST(ExpNegative, EndsAtZero) {
  EXPECT_EQ(exp_negative(0.0f), 1.0f);
  EXPECT_EQ(exp_negative(-1000.0f), 0.0f);
  EXPECT_EQ(exp_negative(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp_negative(std::numeric_limits<float>::quiet_NaN()), 0.0f);
}

TEST(FixedPoint, RoundTripsWhatItHolds) {
  for (const float value : {0.0f, 1.0f, -1.0f, 0.1f, -123.456f, 0x1p-17f})
    EXPECT_EQ(static_cast<float>(from_fixed(to_fixed(value))), value);
}

TEST(FixedPoint, CutsOffAndDropsWhatIsNoNumber) {
  EXPECT_EQ(to_fixed(1e30f), to_fixed(kTermMax));
  EXPECT_EQ(to_fixed(-std::numeric_limits<float>::infinity()), -to_fixed(kTermMax));
  EXPECT_EQ(to_fixed(std::numeric_limits<float>::quiet_NaN()), 0);
}

}  // namespace
}  // namespace echelon::digits
