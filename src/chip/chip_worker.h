// SPDX-License-Identifier: Apache-2.0
//
// ChipWorker: what a chip does with its tasks. A chip task stages its host tensors into device
// memory, launches its kernel, waits, and copies results back; a copy task moves one tensor.
//
//   tag               host tensor                 tensor at home on this chip
//   INPUT, NO_DEP     copied in                   in place
//   OUTPUT            copied back alone           in place
//   INOUT,
//   OUTPUT_EXISTING   copied in and back          in place
//
// Tensors with gaps are staged without them. A task that fails copies nothing back. Errors say in
// which phase: staging, running, returning.
//
// Processes: the chip's. Threads: the executor; counters by anybody. Blocking: as long as the
// kernel and the copies take.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <echelon/chip_driver.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/status.h"
#include "chip/device.h"
#include "chip/device_memory.h"
#include "chip/image_push.h"
#include "chip/late_images.h"
#include "process/task_server.h"

namespace echelon {

/// Memory and names of host pools, as a chip sees them.
class HostTensors {
 public:
  virtual ~HostTensors() = default;
  /// The address of element (0, 0, ...) of a tensor in a host's memory. Errors: as
  /// PoolDirectory::open.
  virtual Result<std::byte*> open(const TensorDesc& desc, Access want) = 0;
  /// Bytes of a buffer that `issuer` has named, wherever it lies. Errors: kStaleHandle,
  /// kForeignHandle.
  virtual Result<std::uint64_t> buffer_bytes(Uid issuer, BufferId id) = 0;
};

/// Relaxed: they are only figures.
struct ChipCounters {
  std::atomic<std::uint64_t> bytes_in{0};   // staged to the device
  std::atomic<std::uint64_t> bytes_out{0};  // copied back from it
};

class ChipWorker final : public TaskHandler {
 public:
  /// `self` is this chip's uid: the home of the tensors that lie here. All must outlive it.
  ChipWorker(ChipDevice& device, Uid self, HostTensors& hosts, ChipCounters& counters, Env& env);
  ~ChipWorker();

  /// Loads the kernel that tasks of `slot` run; replaces the slot's former one. Errors: kImage.
  Status add_image(CallableSlot slot, const PushedImage& image);

  void run(const TaskFrame& task, ResultSink& sink) override;
  void release_buffer(BufferId id) override;

  /// Images that come while tasks run.
  std::shared_ptr<CallableHost> callable_host() override { return late_; }

  std::size_t buffer_count() const { return buffers_.count(); }

 private:
  struct LoadedKernel {
    ChipDevice::Kernel kernel;
    std::string name;
    Status failed;  // why there is none; of one that came late
  };
  /// A host tensor's copy in device memory, for the time of one task.
  struct Staged {
    TensorDesc desc;
    StagingCache::Piece piece;
    std::byte* host = nullptr;
    bool back = false;
  };

  void load_late();
  Status run_kernel(const TaskFrame& task);
  Status run_copy(const TaskFrame& task);
  Status bind(const TaskBody& body);
  Status bind_tensor(const TaggedTensor& tensor, echelon_chip_tensor& bound);
  Status stage(const TaggedTensor& tensor, echelon_chip_tensor& bound);
  Status return_results();
  void unstage();

  Status read_tensor(const TensorDesc& desc, std::span<std::byte> dense);
  Status write_tensor(const TensorDesc& desc, std::span<const std::byte> dense);
  Result<DeviceBuffers::Buffer> device_buffer(const TensorDesc& desc, Access want);
  std::span<std::byte> scratch(std::uint64_t bytes);
  void enter(Phase phase);
  void count_in(std::uint64_t bytes);
  void count_out(std::uint64_t bytes);

  ChipDevice& device_;
  const Uid self_;
  HostTensors& hosts_;
  ChipCounters& counters_;
  Env& env_;
  StagingCache staging_;
  DeviceBuffers buffers_;
  std::map<CallableSlot, LoadedKernel> kernels_;
  const std::shared_ptr<LateImages> late_ = std::make_shared<LateImages>();

  Phase phase_ = Phase::kNone;
  MonotonicNs phase_since_ns_ = 0;
  // Kept from task to task, so that a steady flow of tasks does not allocate.
  std::vector<Staged> staged_;
  std::vector<echelon_chip_tensor> tensors_;
  std::vector<echelon_chip_scalar> scalars_;
  std::vector<echelon_chip_option> values_;
  std::vector<std::byte> scratch_;
};

}  // namespace echelon
