// SPDX-License-Identifier: Apache-2.0
//
// What the Workers of these tests run: named functions, which a session has as well as the test.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include <echelon/echelon.h>

namespace echelon::remote_test {

/// Where something ran, as a task's result.
struct Place {
  std::array<char, 96> path{};
  pid_t pid = 0;
  std::string text() const { return path.data(); }
};
Place here(const std::string& path);

/// Registered by name before start(), on the Worker at the top.
struct Functions {
  explicit Functions(Worker& top);

  SubHandle where;
  SubHandle scale_part;
  SubHandle fail;
  SubHandle spin;
  OrchHandle ask;         // -> Place of one of its sub-workers
  OrchHandle where_orch;  // -> Place of its own
  OrchHandle scale;       // input, output, factor: by two sub-workers, half each
  OrchHandle add_one;     // inout
  OrchHandle fill;        // output, value
  OrchHandle fail_below;  // its sub-worker throws
  OrchHandle sum_below;   // of inline bytes, by a sub-worker, and 1000 for each argument
  OrchHandle spin_below;
  OrchHandle config;   // whether its config is grid 2 x 3 x 4 and "key" = "value"
  OrchHandle pass_on;  // "remote where orch" of a Worker below
  OrchHandle large;    // kResultBytesMax bytes 7
};

std::vector<float> numbers(std::size_t count, float first = 1.0f);

}  // namespace echelon::remote_test
