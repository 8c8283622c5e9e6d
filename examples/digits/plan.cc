// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <algorithm>

#include "fixed_point.h"

namespace echelon::digits {

Range share_of(std::int64_t count, int parts, int index) {
  const std::int64_t each = count / parts, left = count % parts;
  const std::int64_t begin = each * index + std::min<std::int64_t>(index, left);
  return {begin, begin + each + (index < left ? 1 : 0)};
}

int busy_chips(std::int64_t rows, int chips) {
  return static_cast<int>(std::min<std::int64_t>(rows, chips));
}

std::int64_t steps_per_epoch(std::int64_t rows) {
  return (rows + kBatchRows - 1) / kBatchRows;
}

Range batch_of_step(std::int64_t rows, std::int64_t step) {
  return {step * kBatchRows, std::min(rows, (step + 1) * kBatchRows)};
}

std::int64_t tasks_per_epoch(std::int64_t training_rows, std::int64_t held_out_rows,
                             const TreeShape& tree) {
  std::int64_t tasks = 1;  // shuffle
  const std::int64_t steps = steps_per_epoch(training_rows);
  for (std::int64_t step = 0; step < steps; ++step) {
    const std::int64_t rows = batch_of_step(training_rows, step).size();
    tasks += 1;  // descend
    for (int host = 0; host < tree.hosts; ++host) {
      const std::int64_t share = share_of(rows, tree.hosts, host).size();
      tasks += 2 + (share > 0 ? 1 : 0) + busy_chips(share, tree.chips);  // step, add, read, chips
    }
  }
  tasks += 1;  // report
  for (int host = 0; host < tree.hosts; ++host)
    tasks += 2 + busy_chips(share_of(held_out_rows, tree.hosts, host).size(), tree.chips);
  return tasks;
}

}  // namespace echelon::digits
