// SPDX-License-Identifier: Apache-2.0
//
// libdigits_callables.so: what sub-workers and hosts run. Every process of the tree loads it, on
// this host and on others; what a function works with comes as its arguments, and what it submits
// it finds by name.
#include "callables.h"

#include <algorithm>
#include <span>
#include <vector>

#include "plan.h"
#include "random.h"

namespace echelon::digits {
namespace {

ModelShape shape_of(const TaskArgs& args) {
  const auto units = [&](std::size_t i) {
    return static_cast<std::size_t>(args.scalar<std::int32_t>(i));
  };
  return {units(0), units(1), units(2)};
}

// --- sub functions ------------------------------------------------------------------------------

void shuffle(Task& task) {
  const View<std::int32_t> order = task.tensor<std::int32_t>(0);
  const std::vector<std::int32_t> rows =
      permutation(static_cast<std::int64_t>(order.size()), task.scalar<std::uint64_t>(0),
                  task.scalar<std::uint64_t>(1));
  std::copy(rows.begin(), rows.end(), order.begin());
}

// in features, labels, order; out the rows that order names
void read_rows(Task& task) {
  const auto features = task.tensor<const float>(0);
  const auto labels = task.tensor<const std::int32_t>(1);
  const auto order = task.tensor<const std::int32_t>(2);
  const auto batch_features = task.tensor<float>(3);
  const auto batch_labels = task.tensor<std::int32_t>(4);
  const auto width = static_cast<std::size_t>(features.extent(1));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto row = static_cast<std::size_t>(order[i]);
    std::copy_n(features.data() + row * width, width, batch_features.data() + i * width);
    batch_labels[i] = labels[row];
  }
}

// Adds the rows of a [rows, n] tensor to `total`.
void add_rows(const View<const std::int64_t>& parts, std::span<std::int64_t> total) {
  const std::int64_t* part = parts.data();
  for (std::int64_t row = 0; row < parts.extent(0); ++row) {
    for (std::int64_t& sum : total) sum += *part++;
  }
}

std::vector<std::int64_t> sum_rows(const View<const std::int64_t>& parts) {
  std::vector<std::int64_t> total(static_cast<std::size_t>(parts.extent(1)), 0);
  add_rows(parts, total);
  return total;
}

// out total [1, n]; in parts [any, n], or none for a total of zero
void add(Task& task) {
  const std::span<std::int64_t> total = task.tensor<std::int64_t>(0).span();
  std::fill(total.begin(), total.end(), 0);
  if (task.tensor_count() > 1) add_rows(task.tensor<const std::int64_t>(1), total);
}

void descend_task(Task& task) {
  const std::vector<std::int64_t> sums = sum_rows(task.tensor<const std::int64_t>(0));
  const BatchLoss loss = descend(sums, step_options(shape_of(task)), task.tensor<float>(1).span(),
                                 task.tensor<float>(2).span());
  const auto epoch_loss = task.tensor<double>(3);
  epoch_loss[0] += loss.loss_sum;
  epoch_loss[1] += loss.samples;
}

EpochFigures report(Task& task) {
  const std::vector<std::int64_t> counts = sum_rows(task.tensor<const std::int64_t>(0));
  const auto epoch_loss = task.tensor<double>(1);
  const EpochFigures figures{epoch_loss[0] / epoch_loss[1], counts[0], counts[1]};
  std::fill(epoch_loss.begin(), epoch_loss.end(), 0.0);
  return figures;
}

ECHELON_SUB(kShuffle, shuffle);
ECHELON_SUB(kRead, read_rows);
ECHELON_SUB(kAdd, add);
ECHELON_SUB(kDescend, descend_task);
ECHELON_SUB(kReport, report);

// --- orchestration functions of the hosts -------------------------------------------------------

struct HostBatch {
  Tensor parameters;
  Tensor features;  // [rows, features]
  Tensor labels;    // [rows]
};

// Runs `kernel` on every chip's share of the batch and adds up what they find.
void spread(Orchestrator& orch, const ModelShape& shape, ChipHandle kernel, const HostBatch& batch,
            const Tensor& total) {
  const std::int64_t rows = batch.features.extent(0);
  const int chips = busy_chips(rows, static_cast<int>(orch.chip_count()));
  const Tensor parts = orch.alloc<std::int64_t>({chips, static_cast<std::int64_t>(total.size())});
  for (int chip = 0; chip < chips; ++chip) {
    const Range share = share_of(rows, chips, chip);
    orch.submit(kernel,
                Args()
                    .input(batch.parameters)
                    .input(batch.features.slice(0, share.begin, share.end))
                    .input(batch.labels.slice(0, share.begin, share.end))
                    .output(parts.slice(0, chip, chip + 1))
                    .scalar(static_cast<std::int32_t>(shape.hidden))
                    .scalar(static_cast<std::int32_t>(shape.classes)),
                {.worker = orch.chip(static_cast<std::size_t>(chip))});
  }
  orch.submit(orch.find_sub(kAdd), Args().output(total).input(parts));
}

void host_step(Orchestrator& orch, TaskArgs& args) {
  const Tensor sums = args.handle(0);
  if (args.tensor_count() == 4) {
    orch.submit(orch.find_sub(kAdd), Args().output(sums));
    return;
  }
  const Tensor features = args.handle(2), labels = args.handle(3), order = args.handle(4);
  const HostBatch batch{args.handle(1), orch.alloc<float>({order.extent(0), features.extent(1)}),
                        orch.alloc<std::int32_t>({order.extent(0)})};
  orch.submit(orch.find_sub(kRead), Args()
                                        .input(features)
                                        .input(labels)
                                        .input(order)
                                        .output(batch.features)
                                        .output(batch.labels));
  spread(orch, shape_of(args), orch.find_chip(kGradient), batch, sums);
}

void host_evaluate(Orchestrator& orch, TaskArgs& args) {
  const Tensor counts = args.handle(0);
  if (args.tensor_count() == 2) {
    orch.submit(orch.find_sub(kAdd), Args().output(counts));
    return;
  }
  const HostBatch batch{args.handle(1), args.handle(2), args.handle(3)};
  spread(orch, shape_of(args), orch.find_chip(kPredict), batch, counts);
}

ECHELON_ORCH(kStep, host_step);
ECHELON_ORCH(kEvaluate, host_evaluate);

}  // namespace
}  // namespace echelon::digits
