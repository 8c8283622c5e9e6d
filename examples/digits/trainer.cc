// SPDX-License-Identifier: Apache-2.0
#include "trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <span>

#include <echelon/remote.h>
#include <fmt/format.h>

namespace echelon::digits {
namespace {

using Clock = std::chrono::steady_clock;

// Submitted but not yet seen to end: enough that nobody in the tree waits for the next one.
constexpr std::size_t kStepsInFlightMax = 16;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Worker make_pod(const TrainOptions& options) {
  Worker pod({.level = 4, .name = "pod0", .sub_workers = 1});
  std::vector<ChipSpec> chips;
  for (int chip = 0; chip < options.tree.chips; ++chip) chips.push_back({"cpu", chip});
  for (std::size_t host = 0; host < options.remote.size(); ++host) {
    // The pod's tensors are copied there and back, where they have changed.
    pod.add_remote_worker({.address = options.remote[host].address,
                           .name = fmt::format("host{}", host),
                           .sub_workers = 1,
                           .chips = chips,
                           .tls_dir = options.remote[host].tls_dir,
                           .stage = Stage::kCopy});
  }
  if (!options.remote.empty()) return pod;
  for (int host = 0; host < options.tree.hosts; ++host) {
    pod.add_worker(Worker(
        {.level = 3, .name = fmt::format("host{}", host), .sub_workers = 1, .chips = chips}));
  }
  return pod;
}

template <class T>
Tensor tensor_of(Worker& pod, Shape shape, const std::vector<T>& values) {
  return pod.tensor<T>(std::move(shape), std::span<const T>(values));
}

// All tensors of one training; the pod's.
struct Tensors {
  Tensors(Worker& pod, const Dataset& dataset, const ModelShape& shape,
          const TrainOptions& options) {
    const auto width = static_cast<std::int64_t>(dataset.features);
    const auto rows = static_cast<std::int64_t>(dataset.training.count);
    const auto held_out = static_cast<std::int64_t>(dataset.held_out.count);
    const auto count = static_cast<std::int64_t>(shape.parameter_count());
    features = tensor_of(pod, {rows, width}, dataset.training.features);
    labels = tensor_of(pod, {rows}, dataset.training.labels);
    held_out_features = tensor_of(pod, {held_out, width}, dataset.held_out.features);
    held_out_labels = tensor_of(pod, {held_out}, dataset.held_out.labels);
    parameters = tensor_of(pod, {count}, initial_parameters(shape, options.seed));
    velocity = pod.tensor<float>({count});
    sums = pod.tensor<std::int64_t>(
        {options.tree.hosts, static_cast<std::int64_t>(shape.sum_count())});
    counts = pod.tensor<std::int64_t>({options.tree.hosts, 2});
    epoch_loss = pod.tensor<double>({2});
    for (Tensor& order : orders) order = pod.tensor<std::int32_t>({rows});
  }

  Tensor features, labels;                    // training rows
  Tensor held_out_features, held_out_labels;  // held-out rows
  Tensor parameters, velocity;
  Tensor sums, counts;           // a row a host
  Tensor epoch_loss;             // loss, samples
  std::array<Tensor, 2> orders;  // in turn: the next epoch is shuffled while one is trained
};

// The pod's orchestration function.
class Training {
 public:
  Training(Orchestrator& orch, const Callables& callables, const Tensors& tensors,
           const ModelShape& shape, const TrainOptions& options, Observer& observer)
      : orch_(orch),
        callables_(callables),
        tensors_(tensors),
        shape_(shape),
        options_(options),
        observer_(observer),
        epoch_begin_(Clock::now()) {}

  EpochReport run() {
    for (int epoch = 0; epoch < options_.epochs; ++epoch) {
      const Tensor& order = tensors_.orders[static_cast<std::size_t>(epoch) % 2];
      orch_.submit(
          callables_.shuffle,
          Args().output(order).scalar(options_.seed).scalar(static_cast<std::uint64_t>(epoch)));
      const std::int64_t steps = steps_per_epoch(order.extent(0));
      for (std::int64_t step = 0; step < steps; ++step) submit_step(order, step);
      submit_report();
    }
    while (!in_flight_.empty()) take_oldest();
    return last_;
  }

 private:
  struct InFlight {
    TaskHandle task;
    bool ends_epoch = false;
  };

  void submit_step(const Tensor& order, std::int64_t step) {
    const Range batch = batch_of_step(order.extent(0), step);
    for (int host = 0; host < options_.tree.hosts; ++host) {
      const Range share = share_of(batch.size(), options_.tree.hosts, host);
      Args args;
      args.output(tensors_.sums.slice(0, host, host + 1))
          .input(tensors_.parameters)
          .input(tensors_.features)
          .input(tensors_.labels);
      if (share.size() > 0)
        args.input(order.slice(0, batch.begin + share.begin, batch.begin + share.end));
      submit_to_host(callables_.step, args, host);
    }
    Args args;
    args.input(tensors_.sums)
        .inout(tensors_.parameters)
        .inout(tensors_.velocity)
        .inout(tensors_.epoch_loss);
    keep({orch_.submit(callables_.descend, add_shape(args, shape_)), false});
  }

  void submit_report() {
    for (int host = 0; host < options_.tree.hosts; ++host) {
      const Range share = share_of(tensors_.held_out_labels.extent(0), options_.tree.hosts, host);
      Args args;
      args.output(tensors_.counts.slice(0, host, host + 1)).input(tensors_.parameters);
      if (share.size() > 0) {
        args.input(tensors_.held_out_features.slice(0, share.begin, share.end))
            .input(tensors_.held_out_labels.slice(0, share.begin, share.end));
      }
      submit_to_host(callables_.evaluate, args, host);
    }
    keep({orch_.submit(callables_.report, Args().input(tensors_.counts).inout(tensors_.epoch_loss)),
          true});
  }

  void submit_to_host(OrchHandle callable, Args& args, int host) {
    orch_.submit(callable, add_shape(args, shape_),
                 {.worker = orch_.worker(static_cast<std::size_t>(host))});
  }

  void keep(InFlight task) {
    in_flight_.push_back(std::move(task));
    if (in_flight_.size() > kStepsInFlightMax) take_oldest();
  }

  void take_oldest() {
    const InFlight oldest = std::move(in_flight_.front());
    in_flight_.pop_front();
    if (oldest.ends_epoch) {
      end_epoch(oldest.task.result<EpochFigures>());
    } else {
      oldest.task.wait();
      observer_.step_done();
    }
  }

  void end_epoch(const EpochFigures& figures) {
    const std::int64_t tasks = tasks_per_epoch(tensors_.labels.extent(0),
                                               tensors_.held_out_labels.extent(0), options_.tree);
    last_ = {last_.epoch + 1, figures.loss_mean, figures.right, figures.held_out,
             static_cast<double>(tasks) / std::max(seconds_since(epoch_begin_), 1e-9)};
    epoch_begin_ = Clock::now();
    observer_.epoch_done(last_);
  }

  Orchestrator& orch_;
  const Callables& callables_;
  const Tensors& tensors_;
  const ModelShape shape_;
  const TrainOptions& options_;
  Observer& observer_;
  std::deque<InFlight> in_flight_;
  Clock::time_point epoch_begin_;
  EpochReport last_;
};

}  // namespace

ModelShape model_shape(const Dataset& dataset, int hidden) {
  return {dataset.features, static_cast<std::size_t>(hidden), dataset.classes.size()};
}

Trained train(const Dataset& dataset, const TrainOptions& options, Observer& observer) {
  const ModelShape shape = model_shape(dataset, options.hidden);
  Worker pod = make_pod(options);
  const Callables callables = register_callables(pod, options.code);
  pod.start();
  observer.started(pod.describe());

  const Tensors tensors(pod, dataset, shape, options);
  Trained trained;
  const Clock::time_point begin = Clock::now();
  trained.last = pod.run([&](Orchestrator& orch) {
    return Training(orch, callables, tensors, shape, options, observer).run();
  });
  trained.seconds = seconds_since(begin);
  const auto parameters = tensors.parameters.data<const float>();
  trained.parameters.assign(parameters.begin(), parameters.end());
  trained.tree = pod.tree();
  pod.close();
  return trained;
}

}  // namespace echelon::digits
