// SPDX-License-Identifier: Apache-2.0
#include "engine/task_table.h"

#include <utility>

#include "base/check.h"

namespace echelon {

TaskTable::TaskTable(const EngineLimits& limits)
    : tasks_(limits.tasks_max),
      edges_(limits.edges_max),
      details_(limits.tasks_max),
      bodies_(limits.body_bytes_max),
      results_(limits.result_bytes_max) {}

TaskTable::~TaskTable() {
  for (std::uint32_t index = 0; index < tasks_.made(); ++index) {
    Task& task = tasks_[index];
    free_body(task);
    if (task.detail == kNoIndex) continue;
    TaskDetail& detail = details_[task.detail];
    results_.free(detail.result, detail.result_bytes);
  }
}

std::uint32_t TaskTable::allocate() {
  const std::uint32_t index = tasks_.allocate();
  if (index == kNoIndex) return index;
  Task& task = tasks_[index];
  const std::uint32_t generation = task.generation;
  task = Task{};
  task.generation = generation == 0 ? 1 : generation;
  task.state = TaskState::kBuilding;
  return index;
}

void TaskTable::free(std::uint32_t index) {
  Task& task = tasks_[index];
  free_body(task);
  free_edges(task);
  if (task.detail != kNoIndex) {
    TaskDetail& detail = details_[task.detail];
    results_.free(detail.result, detail.result_bytes);
    detail = TaskDetail{};
    details_.free(task.detail);
    task.detail = kNoIndex;
  }
  // From here on the old id finds nothing; 0 is never a generation in use.
  if (++task.generation == 0) task.generation = 1;
  tasks_.free(index);
}

bool TaskTable::add_edge(std::uint32_t from, std::uint32_t to, bool data) {
  Task& source = tasks_[from];
  const std::uint32_t data_bit = data ? kDataBit : 0;
  if (source.last_edge != kNoIndex && (edges_[source.last_edge].to & ~kDataBit) == to) {
    edges_[source.last_edge].to |= data_bit;
    return true;
  }
  const std::uint32_t index = edges_.allocate();
  if (index == kNoIndex) return false;
  edges_[index] = {kNoIndex, to | data_bit};
  if (source.last_edge == kNoIndex)
    source.first_edge = index;
  else
    edges_[source.last_edge].next = index;
  source.last_edge = index;
  ++tasks_[to].pending;
  ++edges_made_;
  return true;
}

void TaskTable::free_edges(Task& task) {
  for (std::uint32_t e = task.first_edge; e != kNoIndex;) {
    const std::uint32_t next = edges_[e].next;
    edges_.free(e);
    e = next;
  }
  task.first_edge = task.last_edge = kNoIndex;
}

void TaskTable::set_body(Task& task, std::span<const std::byte> body) {
  task.body = bodies_.copy(body);
  task.body_bytes = static_cast<std::uint32_t>(body.size());
}

void TaskTable::free_body(Task& task) {
  bodies_.free(task.body, task.body_bytes);
  task.body = nullptr;
  task.body_bytes = 0;
}

std::uint32_t TaskTable::detail_of(Task& task) {
  if (task.detail == kNoIndex) {
    task.detail = details_.allocate();
    ECHELON_CHECK(task.detail != kNoIndex);
    details_[task.detail] = TaskDetail{};
  }
  return task.detail;
}

void TaskTable::set_error(Task& task, std::shared_ptr<const ErrorInfo> error) {
  details_[detail_of(task)].error = std::move(error);
}

bool TaskTable::set_result(Task& task, std::span<const std::byte> result) {
  if (!results_.fits(result.size())) return false;
  TaskDetail& detail = details_[detail_of(task)];
  detail.result = results_.copy(result);
  detail.result_bytes = static_cast<std::uint32_t>(result.size());
  return true;
}

std::shared_ptr<const ErrorInfo> TaskTable::error(const Task& task) const {
  return task.detail == kNoIndex ? nullptr : details_[task.detail].error;
}

std::span<const std::byte> TaskTable::result(const Task& task) const {
  if (task.detail == kNoIndex) return {};
  const TaskDetail& detail = details_[task.detail];
  return {detail.result, detail.result_bytes};
}

std::size_t TaskTable::memory_bytes() const {
  return tasks_.memory_bytes() + edges_.memory_bytes() + details_.memory_bytes() +
         bodies_.memory_bytes() + results_.memory_bytes();
}

}  // namespace echelon
