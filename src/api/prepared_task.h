// SPDX-License-Identifier: Apache-2.0
//
// PreparedTask: one task on its way into the engine, with the pins of what it uses.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "api/buffer.h"
#include "api/late_table.h"
#include "engine/engine.h"
#include "shm/task_body.h"

namespace echelon::detail {

/// Kept between submits for its memory.
struct PreparedTask {
  TaskSpec spec;
  std::vector<TaggedTensor> tensors;
  std::vector<TaskAccess> accesses;
  std::vector<ScalarValue> scalars;
  std::vector<InlineBytes> inlined;  // views of what submit() was given
  std::vector<TaskId> after;
  std::vector<std::byte> body;
  LateTable* late = nullptr;  // where a late callable is in use for this task

  void clear() {
    late = nullptr;
    spec = TaskSpec();
    tensors.clear();
    accesses.clear();
    scalars.clear();
    inlined.clear();
    after.clear();
    body.clear();
  }
  /// Gives back the pins of a task that was not submitted.
  void unpin() {
    if (LateTable* used = std::exchange(late, nullptr)) used->release(spec.slot);
    for (const TaskAccess& access : accesses) {
      if (access.pin != 0) reinterpret_cast<Buffer*>(access.pin)->unpin();
    }
    accesses.clear();
  }
};

}  // namespace echelon::detail
