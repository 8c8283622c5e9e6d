// SPDX-License-Identifier: Apache-2.0
//
// What the tests of refusals share.
#pragma once

#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <functional>
#include <string>

#include "thrown.h"

namespace echelon::tree_test {

inline ChipImage image(const char* kernel) {
  return ChipImage::from_file(ECHELON_TREE_KERNELS, kernel);
}

template <class Kind>
void expect_refused(const std::function<void()>& call, Reason reason,
                    const testing::Matcher<std::string>& words) {
  const Error error = thrown<Kind>(call);
  EXPECT_EQ(error.reason(), reason) << error.what();
  EXPECT_THAT(error.message(), words);
}

/// A pod of two hosts: the first with a chip, the second without.
class PodOfTwoHosts : public testing::Test {
 protected:
  PodOfTwoHosts() {
    pod.add_worker(host0);
    pod.add_worker(host1);
    sub = pod.register_sub("sub", [](Task&) {});
    chip = pod.register_chip("scale", image("scale"));
    orch = pod.register_orch("orch", [](Orchestrator&) {});
  }
  void run(const std::function<void(Orchestrator&)>& body) { pod.run(body); }
  /// Runs `body` with the Orchestrator of host `host`.
  void run_at(std::size_t host, const std::function<void(Orchestrator&, TaskArgs&)>& body,
              const Args& args = {}) {
    const OrchHandle there = pod.register_orch("there", body);
    if (!pod.started()) pod.start();
    pod.run(
        [&](Orchestrator& at_pod) { at_pod.submit(there, args, {.worker = at_pod.worker(host)}); });
  }

  Worker pod{{.level = 4, .sub_workers = 1}};
  Worker host0{{.level = 3, .name = "host0", .sub_workers = 2, .chips = {{"cpu", 0}}}};
  Worker host1{{.level = 3, .name = "host1", .sub_workers = 1}};
  SubHandle sub;
  ChipHandle chip;
  OrchHandle orch;
};

}  // namespace echelon::tree_test
