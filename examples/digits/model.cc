// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "fixed_point.h"
#include "random.h"

namespace echelon::digits {
namespace {

constexpr float kRate = 0.05f;
constexpr float kMomentum = 0.9f;
constexpr std::size_t kFeaturesAtFullRate = 128;

void fill_uniform(std::span<float> values, std::size_t inputs, Random& random) {
  const float bound = std::sqrt(6.0f / static_cast<float>(inputs));
  for (float& value : values) value = bound * random.symmetric();
}

}  // namespace

std::vector<float> initial_parameters(const ModelShape& shape, std::uint64_t seed) {
  std::vector<float> parameters(shape.parameter_count(), 0.0f);
  const std::span<float> all(parameters);
  Random random(seed);
  const std::size_t weights1 = shape.features * shape.hidden;
  fill_uniform(all.first(weights1), shape.features, random);
  fill_uniform(all.subspan(weights1 + shape.hidden, shape.hidden * shape.classes), shape.hidden,
               random);
  return parameters;
}

Model::Model(const ModelShape& shape, std::span<const float> parameters)
    : shape_(shape),
      weights1_(parameters.data()),
      biases1_(weights1_ + shape.features * shape.hidden),
      weights2_(biases1_ + shape.hidden),
      biases2_(weights2_ + shape.hidden * shape.classes),
      hidden_(shape.hidden),
      hidden_slope_(shape.hidden),
      scores_(shape.classes) {}

void Model::forward(std::span<const float> x) {
  std::copy_n(biases1_, shape_.hidden, hidden_.begin());
  for (std::size_t f = 0; f < shape_.features; ++f) {
    const float* const row = weights1_ + f * shape_.hidden;
    for (std::size_t h = 0; h < shape_.hidden; ++h) hidden_[h] += x[f] * row[h];
  }
  for (float& value : hidden_) value = std::max(value, 0.0f);

  std::copy_n(biases2_, shape_.classes, scores_.begin());
  for (std::size_t h = 0; h < shape_.hidden; ++h) {
    const float* const row = weights2_ + h * shape_.classes;
    for (std::size_t c = 0; c < shape_.classes; ++c) scores_[c] += hidden_[h] * row[c];
  }
}

float Model::softmax_loss(std::size_t label) {
  const float highest = *std::max_element(scores_.begin(), scores_.end());
  const float above_label = highest - scores_[label];
  float sum = 0.0f;
  for (float& score : scores_) {
    score = exp_negative(score - highest);
    sum += score;
  }
  for (float& score : scores_) score /= sum;
  scores_[label] -= 1.0f;
  return std::log(sum) + above_label;
}

void Model::backward() {
  for (std::size_t h = 0; h < shape_.hidden; ++h) {
    const float* const row = weights2_ + h * shape_.classes;
    float slope = 0.0f;
    for (std::size_t c = 0; c < shape_.classes; ++c) slope += row[c] * scores_[c];
    hidden_slope_[h] = hidden_[h] > 0.0f ? slope : 0.0f;
  }
}

void Model::add_gradient(std::span<const float> x, std::int32_t label,
                         std::span<std::int64_t> sums) {
  forward(x);
  const float loss = softmax_loss(static_cast<std::size_t>(label));
  backward();
  std::int64_t* out = sums.data();
  for (std::size_t f = 0; f < shape_.features; ++f, out += shape_.hidden) {
    if (x[f] == 0.0f) continue;  // adds nothing
    for (std::size_t h = 0; h < shape_.hidden; ++h) out[h] += to_fixed(x[f] * hidden_slope_[h]);
  }
  for (std::size_t h = 0; h < shape_.hidden; ++h) *out++ += to_fixed(hidden_slope_[h]);
  for (std::size_t h = 0; h < shape_.hidden; ++h, out += shape_.classes) {
    if (hidden_[h] == 0.0f) continue;
    for (std::size_t c = 0; c < shape_.classes; ++c) out[c] += to_fixed(hidden_[h] * scores_[c]);
  }
  for (std::size_t c = 0; c < shape_.classes; ++c) *out++ += to_fixed(scores_[c]);
  *out++ += to_fixed(loss);
  *out += 1;
}

std::int32_t Model::predict(std::span<const float> x) {
  forward(x);
  return static_cast<std::int32_t>(std::max_element(scores_.begin(), scores_.end()) -
                                   scores_.begin());
}

BatchLoss descend(std::span<const std::int64_t> sums, const StepOptions& options,
                  std::span<float> parameters, std::span<float> velocity) {
  const auto samples = static_cast<double>(sums[parameters.size() + 1]);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto mean = static_cast<float>(from_fixed(sums[i]) / samples);
    velocity[i] = options.momentum * velocity[i] - options.rate * mean;
    parameters[i] += velocity[i];
  }
  return {from_fixed(sums[parameters.size()]), samples};
}

StepOptions step_options(const ModelShape& shape) {
  const std::size_t features = std::max(shape.features, kFeaturesAtFullRate);
  const float scale = static_cast<float>(kFeaturesAtFullRate) / static_cast<float>(features);
  return {kRate * scale, kMomentum};
}

float exp_negative(float x) {
  if (!(x > -87.0f)) return 0.0f;  // below the smallest normal number
  // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, so that n ln 2 is exact.
  const int n = static_cast<int>(x * 1.44269504f - 0.5f);
  const auto whole = static_cast<float>(n);
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23);
}

}  // namespace echelon::digits
