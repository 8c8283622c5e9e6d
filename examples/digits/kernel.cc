// SPDX-License-Identifier: Apache-2.0
//
// What the chips run; built into a shared object of its own.
//
//   tensors: parameters float32 [parameters], features float32 [rows, features],
//            labels int32 [rows], result int64
//   scalars: hidden int32, classes int32
#include <algorithm>
#include <string>

#include <echelon/chip_kernel.h>

#include "model.h"

namespace {

namespace kernel = echelon::kernel;

struct Batch {
  echelon::digits::ModelShape shape;
  std::span<const float> parameters;
  std::span<const float> features;
  std::span<const std::int32_t> labels;
  std::span<std::int64_t> result;

  std::span<const float> row(std::size_t i) const {
    return features.subspan(i * shape.features, shape.features);
  }
};

void check(bool good, const echelon_kernel_context* context, const char* what) {
  if (!good) kernel::fail(context, std::string("digits: ") + what);
}

Batch batch_of(const echelon_kernel_args* args, const echelon_kernel_context* context) {
  const echelon_kernel_tensor& x = kernel::tensor(args, context, 1);
  check(x.rank == 2, context, "features must have two dimensions");
  Batch batch;
  batch.parameters = kernel::values<const float>(args, context, 0);
  batch.features = kernel::values<const float>(args, context, 1);
  batch.labels = kernel::values<const std::int32_t>(args, context, 2);
  batch.result = kernel::values<std::int64_t>(args, context, 3);
  const auto hidden = kernel::scalar<std::int32_t>(args, context, 0);
  const auto classes = kernel::scalar<std::int32_t>(args, context, 1);
  check(hidden > 0 && classes > 0, context, "hidden and classes must be positive");
  batch.shape = {static_cast<std::size_t>(x.extent[1]), static_cast<std::size_t>(hidden),
                 static_cast<std::size_t>(classes)};
  check(batch.parameters.size() == batch.shape.parameter_count(), context,
        "as many parameters as the network has are needed");
  check(batch.labels.size() == static_cast<std::size_t>(x.extent[0]), context,
        "as many labels as rows are needed");
  check(std::all_of(batch.labels.begin(), batch.labels.end(),
                    [&](std::int32_t label) { return label >= 0 && label < classes; }),
        context, "a label is no class");
  return batch;
}

}  // namespace

// Forward and backward: the gradient, loss and count over the rows, as Model::add_gradient() adds.
ECHELON_KERNEL(digits_gradient) {
  const Batch batch = batch_of(args, context);
  check(batch.result.size() == batch.shape.sum_count(), context,
        "the result must hold gradient, loss and count");
  std::fill(batch.result.begin(), batch.result.end(), 0);
  echelon::digits::Model model(batch.shape, batch.parameters);
  for (std::size_t i = 0; i < batch.labels.size(); ++i)
    model.add_gradient(batch.row(i), batch.labels[i], batch.result);
}

// Forward alone: how many rows were told right, and how many there were.
ECHELON_KERNEL(digits_predict) {
  const Batch batch = batch_of(args, context);
  check(batch.result.size() == 2, context, "the result must hold two counts");
  echelon::digits::Model model(batch.shape, batch.parameters);
  std::int64_t right = 0;
  for (std::size_t i = 0; i < batch.labels.size(); ++i)
    right += model.predict(batch.row(i)) == batch.labels[i] ? 1 : 0;
  batch.result[0] = right;
  batch.result[1] = static_cast<std::int64_t>(batch.labels.size());
}
