// SPDX-License-Identifier: Apache-2.0
#include "chip/device.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include <fmt/format.h>

namespace echelon {
namespace {

/// Where a driver writes its text. Longer ones are cut by the driver.
class ErrorText {
 public:
  ErrorText() { text_[0] = '\0'; }
  echelon_chip_error* out() { return &error_; }
  const char* text() {
    text_.back() = '\0';  // whatever the driver did
    return text_.data();
  }

 private:
  std::array<char, 2048> text_;
  echelon_chip_error error_{text_.data(), text_.size()};
};

struct Kind {
  Code code;
  Reason reason;
};
Kind kind_of(int code) {
  switch (code) {
    case ECHELON_CHIP_INVALID:
      return {Code::kInvalidArgument, Reason::kBadArgument};
    case ECHELON_CHIP_NOT_FOUND:
      return {Code::kNotFound, Reason::kDriver};
    case ECHELON_CHIP_NO_MEMORY:
      return {Code::kResourceExhausted, Reason::kExhausted};
    case ECHELON_CHIP_IMAGE:
      return {Code::kInvalidArgument, Reason::kImage};
    case ECHELON_CHIP_FAULT:
      return {Code::kAborted, Reason::kException};
    case ECHELON_CHIP_UNSUPPORTED:
      return {Code::kUnimplemented, Reason::kDriver};
    case ECHELON_CHIP_LOST:
      return {Code::kUnavailable, Reason::kDriver};
    default:
      return {Code::kInternal, Reason::kDriver};
  }
}

}  // namespace

Result<ChipDevice> ChipDevice::open(const ChipDriver& driver, const ChipDescription& which) {
  const echelon_chip_driver_v1& table = driver.table();
  const char* name = table.name != nullptr ? table.name : "";
  ErrorText error;
  std::uint32_t count = 0;
  if (const int code = table.device_count(&count, error.out()); code != ECHELON_CHIP_OK) {
    return Status::error(Code::kUnavailable, Reason::kDriver,
                         fmt::format("chip driver {}: device_count: {}", name, error.text()));
  }
  if (which.device >= count) {
    return Status::error(Code::kNotFound, Reason::kDriver,
                         fmt::format("chip driver {} has {} devices; device {} was asked for", name,
                                     count, which.device));
  }
  std::vector<echelon_chip_option> options;
  for (const auto& [key, value] : which.options) options.push_back({key.c_str(), value.c_str()});
  echelon_chip_device* device = nullptr;
  const int code = table.open(which.device, options.data(),
                              static_cast<std::uint32_t>(options.size()), &device, error.out());
  if (code != ECHELON_CHIP_OK || device == nullptr) {
    return Status::error(kind_of(code).code, Reason::kDriver,
                         fmt::format("chip driver {}: device {} does not open: {}", name,
                                     which.device, error.text()));
  }
  return ChipDevice(driver, device);
}

ChipDevice::ChipDevice(ChipDevice&& other) noexcept
    : driver_(other.driver_), device_(std::exchange(other.device_, nullptr)) {}

ChipDevice::~ChipDevice() {
  if (device_ != nullptr) table().close(device_);
}

Status ChipDevice::failed(int code, const char* call, const char* text) const {
  const Kind kind = kind_of(code);
  // A fault's text is the kernel's own and stands alone.
  if (code == ECHELON_CHIP_FAULT) return Status::error(kind.code, kind.reason, text);
  return Status::error(kind.code, kind.reason,
                       fmt::format("chip driver {}: {}: {}", table().name, call,
                                   *text != '\0' ? text : fmt::format("code {}", code).c_str()));
}

Result<echelon_chip_device_info> ChipDevice::info() const {
  echelon_chip_device_info info{};
  info.struct_size = sizeof info;
  ErrorText error;
  const int code = table().device_info(device_, &info, error.out());
  if (code != ECHELON_CHIP_OK) return failed(code, "device_info", error.text());
  info.name[sizeof info.name - 1] = '\0';
  return info;
}

Result<DeviceMemory> ChipDevice::allocate(std::uint64_t bytes) {
  if (bytes == 0) return DeviceMemory{0};
  DeviceMemory memory = 0;
  ErrorText error;
  const int code = table().allocate(device_, bytes, 0, &memory, error.out());
  if (code != ECHELON_CHIP_OK) return failed(code, "allocate", error.text());
  return memory;
}

Status ChipDevice::free(DeviceMemory memory) {
  if (memory == 0) return Status();
  ErrorText error;
  const int code = table().free(device_, memory, error.out());
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "free", error.text());
}

Status ChipDevice::copy_in(DeviceMemory to, std::uint64_t offset, std::span<const std::byte> from) {
  if (from.empty()) return Status();
  ErrorText error;
  const int code = table().copy_in(device_, to, offset, from.data(), from.size(), error.out());
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "copy_in", error.text());
}

Status ChipDevice::copy_out(std::span<std::byte> to, DeviceMemory from, std::uint64_t offset) {
  if (to.empty()) return Status();
  ErrorText error;
  const int code = table().copy_out(device_, to.data(), from, offset, to.size(), error.out());
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "copy_out", error.text());
}

Status ChipDevice::fill(DeviceMemory to, std::uint64_t offset, std::uint8_t value,
                        std::uint64_t bytes) {
  if (bytes == 0) return Status();
  ErrorText error;
  const int code = table().fill(device_, to, offset, value, bytes, error.out());
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "fill", error.text());
}

Result<ChipDevice::Kernel> ChipDevice::load(std::span<const std::byte> image,
                                            const std::string& kernel) {
  Kernel loaded;
  ErrorText error;
  int code = table().load_image(device_, image.data(), image.size(), &loaded.image, error.out());
  if (code != ECHELON_CHIP_OK) {
    return Status::error(kind_of(code).code, Reason::kImage,
                         fmt::format("kernel '{}': {}", kernel, error.text()));
  }
  code = table().find_kernel(device_, loaded.image, kernel.c_str(), &loaded.kernel, error.out());
  if (code != ECHELON_CHIP_OK) {
    table().unload_image(device_, loaded.image);
    return Status::error(kind_of(code).code, Reason::kImage,
                         fmt::format("kernel '{}': {}", kernel, error.text()));
  }
  return loaded;
}

void ChipDevice::unload(const Kernel& kernel) {
  if (kernel.image != nullptr) table().unload_image(device_, kernel.image);
}

Status ChipDevice::run(const Kernel& kernel, const echelon_chip_launch_spec& spec) {
  ErrorText error;
  echelon_chip_launch launch = 0;
  int code = table().launch(device_, kernel.kernel, &spec, &launch, error.out());
  if (code != ECHELON_CHIP_OK) return failed(code, "launch", error.text());
  constexpr auto kForEver = std::numeric_limits<std::uint64_t>::max();
  do {
    code = table().wait(device_, launch, kForEver, error.out());
  } while (code == ECHELON_CHIP_PENDING);
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "wait", error.text());
}

std::string ChipDevice::fault() const {
  ErrorText text;
  table().fault(device_, text.out());
  return text.text();
}

Status ChipDevice::health() const {
  ErrorText error;
  const int code = table().health(device_, error.out());
  return code == ECHELON_CHIP_OK ? Status() : failed(code, "health", error.text());
}

}  // namespace echelon
