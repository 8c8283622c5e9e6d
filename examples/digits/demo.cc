// SPDX-License-Identifier: Apache-2.0
#include "demo.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include <fmt/format.h>

#include "csv.h"
#include "dataset.h"
#include "places.h"
#include "report.h"
#include "trainer.h"

namespace echelon::digits {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr std::size_t kParametersMax = std::size_t{1} << 24;

struct BadOption : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check_range(const char* option, int value, int highest) {
  if (value < 1 || value > highest)
    throw BadOption(fmt::format("{} must be 1 to {}, not {}", option, highest, value));
}

void check_options(const DemoOptions& options) {
  check_range("--hosts", options.hosts, kHostsMax);
  check_range("--chips", options.chips, kChipsMax);
  check_range("--epochs", options.epochs, kEpochsMax);
  check_range("--hidden", options.hidden, kHiddenMax);
}

void check_size(const Dataset& dataset, const DemoOptions& options) {
  const std::size_t count = model_shape(dataset, options.hidden).parameter_count();
  if (count <= kParametersMax) return;
  throw BadOption(fmt::format(
      "{} features, {} hidden units and {} classes make {} parameters; at most {} are possible",
      dataset.features, options.hidden, dataset.classes.size(), count, kParametersMax));
}

TrainOptions train_options(const DemoOptions& options) {
  TrainOptions train;
  train.tree = {options.hosts, options.chips};
  train.remote = options.remote;
  train.epochs = options.epochs;
  train.hidden = options.hidden;
  train.seed = kSeed;
  train.code = {callables_path(), kernel_path()};
  return train;
}

// One host and one chip, on this machine.
TrainOptions reference_options(const DemoOptions& options) {
  TrainOptions train = train_options(options);
  train.tree = {1, 1};
  train.remote.clear();
  return train;
}

// Shows a training: a bar on standard error and, unless `quiet`, lines on standard output.
class Show : public Observer {
 public:
  Show(const char* what, const Dataset& dataset, int epochs, bool quiet)
      : bar_(stderr, what,
             epochs * steps_per_epoch(static_cast<std::int64_t>(dataset.training.count))),
        epochs_(epochs),
        quiet_(quiet) {}

  void started(const std::string& tree) override {
    if (!quiet_) say(tree.ends_with('\n') ? tree : tree + "\n");
  }
  void step_done() override { bar_.advance(); }
  void epoch_done(const EpochReport& report) override {
    if (!quiet_) say(epoch_line(report, epochs_));
  }

 private:
  void say(const std::string& text) {
    bar_.hide();
    fmt::print("{}\n", text);
    std::fflush(stdout);
  }

  ProgressBar bar_;
  int epochs_;
  bool quiet_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Summary train_and_compare(const Dataset& dataset, const DemoOptions& options) {
  Trained trained, reference;
  {
    Show show("training ", dataset, options.epochs, options.json);
    trained = train(dataset, train_options(options), show);
  }
  {
    Show show("reference", dataset, options.epochs, true);
    reference = train(dataset, reference_options(options), show);
  }
  Summary summary;
  summary.tree_shape = {options.hosts, options.chips};
  summary.where = options.where;
  summary.where_note = options.where_note;
  summary.epochs = options.epochs;
  summary.hidden = options.hidden;
  summary.training_rows = static_cast<std::int64_t>(dataset.training.count);
  summary.features = static_cast<std::int64_t>(dataset.features);
  summary.classes = static_cast<std::int64_t>(dataset.classes.size());
  summary.last = trained.last;
  summary.parameters_sha256 = parameters_sha256(trained.parameters);
  summary.identical_to_one_chip = same_bits(trained.parameters, reference.parameters);
  summary.seconds = trained.seconds;
  summary.tree = std::move(trained.tree);
  return summary;
}

bool must_learn(const DemoOptions& options) {
  return options.data.empty() && options.epochs >= kEpochsDefault &&
         options.hidden >= kHiddenDefault;
}

int run(const DemoOptions& options) {
  check_options(options);
  const Dataset dataset =
      make_dataset(read_csv(options.data.empty() ? data_path() : options.data), kSeed);
  check_size(dataset, options);
  if (!options.json) {
    fmt::print("{} rows to learn from, {} held out; {} features, {} classes\n\n",
               dataset.training.count, dataset.held_out.count, dataset.features,
               dataset.classes.size());
  }
  const Summary summary = train_and_compare(dataset, options);
  fmt::print("{}", options.json ? summary_json(summary) + "\n" : summary_text(summary));
  std::fflush(stdout);

  if (!summary.identical_to_one_chip) {
    fmt::print(stderr, "echelon demo: the parameters differ from those of one host and one chip\n");
    return 1;
  }
  if (must_learn(options) && summary.accuracy() < kAccuracyMin) {
    fmt::print(stderr, "echelon demo: the held-out accuracy is below {:.0f} %\n",
               100.0 * kAccuracyMin);
    return 1;
  }
  return 0;
}

int fail(const std::exception& error, int code) {
  fmt::print(stderr, "echelon demo: {}\n", error.what());
  return code;
}

}  // namespace

int demo_main(const DemoOptions& options) {
  try {
    return run(options);
  } catch (const BadData& error) {
    return fail(error, 2);
  } catch (const BadOption& error) {
    return fail(error, 2);
  } catch (const std::exception& error) {
    return fail(error, 1);
  }
}

}  // namespace echelon::digits
