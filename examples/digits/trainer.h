// SPDX-License-Identifier: Apache-2.0
//
// The training, on a tree: pod0 (level 4, one sub-worker), below it host0.. (level 3, one
// sub-worker and some chips each), which are processes of this machine or sessions on others. What
// is submitted is the same.
//
//   pod0, each epoch   shuffle    sub    -> order of the rows
//   pod0, each step    step       orch   a host, on its share of the batch:
//     host             read       sub    order -> features and labels of the share
//     host             gradient   chip   a chip, on its share of the share -> sums
//     host             add        sub    the chips' sums -> the host's
//                      descend    sub    the hosts' sums -> parameters
//   pod0, each epoch   evaluate   orch   a host, on its share of the held-out rows:
//     host             predict    chip   a chip -> counts
//     host             add        sub    the chips' counts -> the host's
//                      report     sub    counts and loss -> result
//
// Nobody waits for a step before the next one is submitted: parameters, sums and orders are
// tensors, and what their tags say is the order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <echelon/echelon.h>

#include "callables.h"
#include "dataset.h"
#include "model.h"
#include "plan.h"

namespace echelon::digits {

/// A host with a daemon (`echelon daemon --allow library`).
struct RemoteHost {
  std::string address;
  std::string tls_dir;  // this program's keys for it; empty: plain text, to loopback alone
};

struct TrainOptions {
  TreeShape tree;
  std::vector<RemoteHost> remote;  // as many as the tree has hosts; empty: processes of this one
  int epochs = 0;
  int hidden = 0;
  std::uint64_t seed = 0;
  CodePaths code;
};

struct EpochReport {
  int epoch = 0;  // from 1
  double loss = 0;
  std::int64_t right = 0;  // of the held-out rows
  std::int64_t held_out = 0;
  double tasks_per_second = 0;
};

struct Trained {
  std::vector<float> parameters;
  EpochReport last;
  double seconds = 0;  // from the first submit to the end of the last task
  NodeInfo tree;       // as it stood then
};

/// What a training tells while it runs, on the thread that called train().
class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;
  virtual void started(const std::string& tree) = 0;
  virtual void step_done() = 0;
  virtual void epoch_done(const EpochReport& report) = 0;
};

ModelShape model_shape(const Dataset& dataset, int hidden);

/// Starts a tree, trains, closes it. The parameters depend on dataset, epochs, hidden and seed, not
/// on the tree. Throws echelon::Error.
Trained train(const Dataset& dataset, const TrainOptions& options, Observer& observer);

}  // namespace echelon::digits
