// SPDX-License-Identifier: Apache-2.0
//
// ChipDevice: one open device of a driver, with Status instead of codes and with everything it
// handed out freed at the end.
//
// Threads: one at a time, but fault() and health(). Blocking: wait() and the copies.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"
#include "chip/driver_loader.h"

namespace echelon {

/// Which chip: the driver's name (or its file) and the device's index.
struct ChipDescription {
  std::string driver = "cpu";
  std::uint32_t device = 0;
  std::map<std::string, std::string> options;

  friend bool operator==(const ChipDescription&, const ChipDescription&) = default;
};

using DeviceMemory = echelon_chip_memory;

class ChipDevice {
 public:
  /// Errors: those of ChipDriver::load, and the driver's own (kDriver).
  static Result<ChipDevice> open(const ChipDriver& driver, const ChipDescription& which);

  ChipDevice(ChipDevice&& other) noexcept;
  ChipDevice& operator=(ChipDevice&&) = delete;
  ~ChipDevice();

  Result<echelon_chip_device_info> info() const;

  /// Errors: kExhausted where device memory is used up, saying how much is free. `bytes` may be 0:
  /// then the memory is 0, which is freed and copied like any other.
  Result<DeviceMemory> allocate(std::uint64_t bytes);
  Status free(DeviceMemory memory);
  Status copy_in(DeviceMemory to, std::uint64_t offset, std::span<const std::byte> from);
  Status copy_out(std::span<std::byte> to, DeviceMemory from, std::uint64_t offset);
  Status fill(DeviceMemory to, std::uint64_t offset, std::uint8_t value, std::uint64_t bytes);

  /// Loads an image and finds its kernel; valid until unload(). Errors: kImage, naming the kernel.
  struct Kernel {
    echelon_chip_image* image = nullptr;
    echelon_chip_kernel* kernel = nullptr;
  };
  Result<Kernel> load(std::span<const std::byte> image, const std::string& kernel);
  void unload(const Kernel& kernel);

  /// Launches and waits. Errors: kException with the kernel's own text (a fault), kBadArgument,
  /// kDriver (the device is lost).
  Status run(const Kernel& kernel, const echelon_chip_launch_spec& spec);

  std::string fault() const;
  Status health() const;
  const ChipDriver& driver() const { return driver_; }

 private:
  ChipDevice(ChipDriver driver, echelon_chip_device* device)
      : driver_(std::move(driver)), device_(device) {}
  const echelon_chip_driver_v1& table() const { return driver_.table(); }
  Status failed(int code, const char* call, const char* text) const;

  ChipDriver driver_;
  echelon_chip_device* device_ = nullptr;
};

}  // namespace echelon
