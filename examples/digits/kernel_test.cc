// SPDX-License-Identifier: Apache-2.0
//
// The chip kernels, called as a driver calls them.
#include <string>
#include <vector>

#include <echelon/chip_kernel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model.h"

extern "C" {
void digits_gradient(const echelon_kernel_args* args, const echelon_kernel_context* context);
void digits_predict(const echelon_kernel_args* args, const echelon_kernel_context* context);
}

namespace echelon::digits {
namespace {

using ::testing::ElementsAre;

class KernelTest : public ::testing::Test {
 protected:
  static constexpr ModelShape kShape{4, 6, 3};

  KernelTest()
      : parameters_(initial_parameters(kShape, 9)),
        features_{0.5f, -1, 2, 0, 1, 1, -1, 3, -2, 0, 0, 1},
        labels_{0, 2, 1} {}

  // Returns what the kernel failed with; empty if it did not.
  std::string run(echelon_kernel_function kernel, std::vector<std::int64_t>& result) {
    std::vector<echelon_kernel_tensor> tensors = {
        tensor(parameters_.data(), ECHELON_FLOAT32, {std::ssize(parameters_)}, ECHELON_READ),
        tensor(features_.data(), ECHELON_FLOAT32, {3, 4}, ECHELON_READ),
        tensor(labels_.data(), ECHELON_INT32, {std::ssize(labels_)}, ECHELON_READ),
        tensor(result.data(), ECHELON_INT64, {1, std::ssize(result)}, ECHELON_WRITE)};
    const std::vector<echelon_kernel_scalar> scalars = {scalar(hidden_), scalar(3)};
    echelon_kernel_args args{};
    args.struct_size = sizeof args;
    args.tensor_count = 4;
    args.scalar_count = 2;
    args.tensors = tensors.data();
    args.scalars = scalars.data();
    echelon_kernel_context context{};
    context.struct_size = sizeof context;
    context.driver = &failure_;
    context.fail = [](const echelon_kernel_context* at, const char* text) {
      *static_cast<std::string*>(at->driver) = text;
    };
    try {
      kernel(&args, &context);
    } catch (const kernel::Stop&) {}
    return failure_;
  }

  std::vector<float> parameters_;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::int32_t hidden_ = 6;

 private:
  static echelon_kernel_tensor tensor(void* data, std::uint8_t dtype,
                                      const std::vector<std::int64_t>& shape, std::uint8_t access) {
    echelon_kernel_tensor t{};
    t.data = data;
    t.dtype = dtype;
    t.access = access;
    t.rank = static_cast<std::uint8_t>(shape.size());
    std::int64_t stride = dtype == ECHELON_INT64 ? 8 : 4;
    for (std::size_t i = shape.size(); i-- > 0;) {
      t.extent[i] = shape[i];
      t.stride[i] = stride;
      stride *= shape[i];
    }
    return t;
  }

  static echelon_kernel_scalar scalar(std::int32_t value) {
    echelon_kernel_scalar s{};
    s.dtype = ECHELON_INT32;
    std::memcpy(s.bytes, &value, sizeof value);
    return s;
  }

  std::string failure_;
};

TEST_F(KernelTest, GradientIsTheSumOverTheRowsWhateverWasThere) {
  std::vector<std::int64_t> result(kShape.sum_count(), 0x5555555555555555);
  ASSERT_EQ(run(digits_gradient, result), "");
  std::vector<std::int64_t> expected(kShape.sum_count());
  Model model(kShape, parameters_);
  for (std::size_t i = 0; i < labels_.size(); ++i)
    model.add_gradient(std::span<const float>(features_).subspan(4 * i, 4), labels_[i], expected);
  EXPECT_EQ(result, expected);
}

TEST_F(KernelTest, PredictCountsWhatIsRight) {
  Model model(kShape, parameters_);
  for (std::size_t i = 0; i < labels_.size(); ++i)
    labels_[i] = model.predict(std::span<const float>(features_).subspan(4 * i, 4));
  labels_[1] = (labels_[1] + 1) % 3;
  std::vector<std::int64_t> result(2, -1);
  ASSERT_EQ(run(digits_predict, result), "");
  EXPECT_THAT(result, ElementsAre(2, 3));
}

TEST_F(KernelTest, ParametersOfAnotherNetworkAreRefused) {
  parameters_.pop_back();
  std::vector<std::int64_t> result(2);
  EXPECT_EQ(run(digits_predict, result),
            "digits: as many parameters as the network has are needed");
}

TEST_F(KernelTest, HiddenMustBePositive) {
  hidden_ = 0;
  std::vector<std::int64_t> result(2);
  EXPECT_EQ(run(digits_predict, result), "digits: hidden and classes must be positive");
}

TEST_F(KernelTest, LabelThatIsNoClassIsRefused) {
  labels_[2] = 3;
  std::vector<std::int64_t> result(2);
  EXPECT_EQ(run(digits_predict, result), "digits: a label is no class");
}

TEST_F(KernelTest, ResultOfAnotherSizeIsRefused) {
  std::vector<std::int64_t> result(3);
  EXPECT_EQ(run(digits_gradient, result), "digits: the result must hold gradient, loss and count");
}

}  // namespace
}  // namespace echelon::digits
