// SPDX-License-Identifier: Apache-2.0
//
// The classifier: features - hidden (ReLU) - classes (softmax cross-entropy), and its training
// step. Plain arithmetic in a fixed order; nothing here knows of the tree it runs on. The chip
// kernel and the sub-workers are built from it.
//
// Parameters are one float32 array: weights [features][hidden], biases [hidden],
// weights [hidden][classes], biases [classes].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace echelon::digits {

struct ModelShape {
  std::size_t features = 0;
  std::size_t hidden = 0;
  std::size_t classes = 0;

  std::size_t parameter_count() const {
    return features * hidden + hidden + hidden * classes + classes;
  }
  /// Of the sums over samples: the gradient, then the loss, then the number of samples.
  std::size_t sum_count() const { return parameter_count() + 2; }
};

/// Uniform in +-sqrt(6 / inputs) (He et al. 2015), biases zero.
std::vector<float> initial_parameters(const ModelShape& shape, std::uint64_t seed);

/// One sample after another through the network. Threads: an object is one thread's.
class Model {
 public:
  /// `parameters` must outlive the object. REQUIRES: shape.parameter_count() of them
  Model(const ModelShape& shape, std::span<const float> parameters);

  /// Adds one sample's gradient, loss and count to `sums`, in fixed point (the count as itself).
  /// REQUIRES: features of `x`, label < classes, shape.sum_count() of `sums`
  void add_gradient(std::span<const float> x, std::int32_t label, std::span<std::int64_t> sums);
  /// The class with the highest score; the lowest of equals.
  std::int32_t predict(std::span<const float> x);

 private:
  void forward(std::span<const float> x);
  // Turns scores_ into d loss / d score and returns the loss.
  float softmax_loss(std::size_t label);
  // Sets hidden_slope_ to d loss / d hidden input, from scores_.
  void backward();

  ModelShape shape_;
  const float* weights1_;
  const float* biases1_;
  const float* weights2_;
  const float* biases2_;
  std::vector<float> hidden_;
  std::vector<float> hidden_slope_;
  std::vector<float> scores_;
};

struct StepOptions {
  float rate = 0.0f;
  float momentum = 0.0f;
};

/// What a batch adds to the epoch's figures.
struct BatchLoss {
  double loss_sum = 0;
  double samples = 0;
};

/// One step of gradient descent with momentum by the mean over the batch that `sums` add up.
/// REQUIRES: at least one sample in `sums`
BatchLoss descend(std::span<const std::int64_t> sums, const StepOptions& options,
                  std::span<float> parameters, std::span<float> velocity);

/// Falls with the number of features, as the length of an input grows with it.
StepOptions step_options(const ModelShape& shape);

/// e^x for x <= 0; relative error below 2e-7. The same bits on every IEEE machine, which the C
/// library's expf does not promise. (Polynomial: Moshier, Cephes.)
float exp_negative(float x);

}  // namespace echelon::digits
