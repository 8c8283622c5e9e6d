// SPDX-License-Identifier: Apache-2.0
//
// CpuDevice: a chip made of this process's threads and private memory; what driver.cc puts behind
// the C ABI. A launch runs to its end inside launch(): on the launching thread alone where its grid
// is one block, else together with the threads of the CorePool.
//
// Threads: as echelon/chip_driver.h says.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <echelon/chip_driver.h>
#include <echelon/chip_kernel.h>

#include "chip/drivers/cpu/arena.h"
#include "chip/drivers/cpu/core_pool.h"
#include "chip/drivers/cpu/loaded_image.h"

namespace echelon::cpu {

/// A code of the ABI and the text that goes with it.
struct Outcome {
  int code = ECHELON_CHIP_OK;
  std::string text;
};

/// Threads are cheap while they sleep; this bounds a mistaken number.
inline constexpr std::uint32_t kCoresMax = 256;
/// Ended launches that nobody has asked for yet.
inline constexpr std::uint32_t kLaunchesMax = 16;

struct DeviceOptions {
  std::uint64_t memory_bytes = 0;  // 0: the machine's memory
  std::uint32_t cores = 0;         // 0: the processors this process may use
};
Outcome parse_options(std::span<const echelon_chip_option> options, DeviceOptions& parsed);

class CpuDevice {
 public:
  CpuDevice(std::uint32_t index, const DeviceOptions& options);

  void info(echelon_chip_device_info& info) const;

  Outcome allocate(std::uint64_t bytes, std::uint64_t alignment, echelon_chip_memory& memory);
  Outcome free(echelon_chip_memory memory);
  Outcome copy_in(echelon_chip_memory to, std::uint64_t offset, const void* from,
                  std::uint64_t bytes);
  Outcome copy_out(void* to, echelon_chip_memory from, std::uint64_t offset, std::uint64_t bytes);
  Outcome fill(echelon_chip_memory to, std::uint64_t offset, std::uint8_t value,
               std::uint64_t bytes);

  Outcome load(std::span<const std::byte> bytes, LoadedImage*& image);
  /// False for what is not loaded here.
  bool unload(const LoadedImage* image);
  Outcome find_kernel(const LoadedImage* image, const char* name, echelon_kernel_function& kernel);

  Outcome launch(echelon_kernel_function kernel, const echelon_chip_launch_spec& spec,
                 echelon_chip_launch& launch);
  Outcome take_launch(echelon_chip_launch launch);

  std::string last_fault() const;

 private:
  struct Run;

  Outcome range(const char* call, echelon_chip_memory memory, std::uint64_t offset,
                std::uint64_t bytes, std::byte*& at) const;
  Outcome check_grid(const echelon_chip_launch_spec& spec) const;
  Outcome bind_tensor(const echelon_chip_tensor& from, std::size_t index,
                      echelon_kernel_tensor& to) const;
  Outcome bind(const echelon_chip_launch_spec& spec);
  static void run_blocks(Run& run, unsigned core);

  const std::uint32_t index_;
  const std::uint32_t cores_;
  Arena arena_;
  CorePool pool_;
  std::map<const LoadedImage*, std::unique_ptr<LoadedImage>> images_;

  struct Ended {
    echelon_chip_launch launch = 0;  // 0: this place is free
    Outcome outcome;
  };
  std::array<Ended, kLaunchesMax> ended_;
  echelon_chip_launch launches_ = 0;

  // Kept from launch to launch, so that launching does not allocate.
  std::vector<echelon_kernel_tensor> tensors_;
  std::vector<echelon_kernel_scalar> scalars_;
  std::vector<echelon_kernel_value> values_;
  echelon_kernel_args args_{};

  mutable std::mutex fault_mutex_;
  std::string fault_;  // guarded by fault_mutex_
};

}  // namespace echelon::cpu
