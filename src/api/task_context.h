// SPDX-License-Identifier: Apache-2.0
//
// TaskContext: what stands behind the public TaskArgs and Task while a callable runs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/buffer.h"
#include "base/env.h"
#include "process/worker_pools.h"
#include "shm/task_body.h"

namespace echelon::detail {

/// Whether the task that a tensor was lent to is still running. One for each task.
struct LoanTerm {
  std::atomic<bool> over{false};
};

/// A tensor lent to the running task by the level above.
class LoanBuffer final : public Buffer {
 public:
  LoanBuffer(const TensorDesc& desc, std::shared_ptr<LoanTerm> term, WorkerPools& pools)
      : Buffer(desc.issuer, desc.buffer, desc.home), term_(std::move(term)), pools_(pools) {}
  Status check_usable() const override;
  Result<std::byte*> address(const TensorDesc& desc, Access want) const override;
  std::string describe() const override;
  bool lent() const override { return true; }

 private:
  void give_back() override {}

  const std::shared_ptr<LoanTerm> term_;
  WorkerPools& pools_;
};

struct TaskContext {
  const TaskBody* body = nullptr;
  WorkerPools* pools = nullptr;
  const std::string* path = nullptr;
  MonotonicNs deadline_ns = 0;
  std::shared_ptr<LoanTerm> term;                              // orchestration functions
  const std::atomic<std::uint64_t>* cancelled_task = nullptr;  // nullptr: cannot be cancelled
  std::uint64_t task = 0;
  Reason told_to_stop = Reason::kNone;  // what cancelled() has answered: kCancelled or kDeadline
  std::vector<std::byte> result;
};

}  // namespace echelon::detail
