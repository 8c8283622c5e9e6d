// SPDX-License-Identifier: Apache-2.0
//
// Who does what share of the rows, and how many tasks that makes. No result depends on it.
#pragma once

#include <cstdint>

namespace echelon::digits {

struct TreeShape {
  int hosts = 2;
  int chips = 2;  // a host
};

/// Rows [begin, end).
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// Part `index` of `parts` of the rows 0..count-1: in order, together all of them, sizes at most
/// one apart.
Range share_of(std::int64_t count, int parts, int index);

/// How many of `chips` get a row.
int busy_chips(std::int64_t rows, int chips);

std::int64_t steps_per_epoch(std::int64_t rows);

/// The rows of step `step`: kBatchRows of them, what is left in the last.
Range batch_of_step(std::int64_t rows, std::int64_t step);

/// Callables run in the whole tree for one epoch.
std::int64_t tasks_per_epoch(std::int64_t training_rows, std::int64_t held_out_rows,
                             const TreeShape& tree);

}  // namespace echelon::digits
