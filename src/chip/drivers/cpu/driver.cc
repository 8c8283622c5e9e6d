// SPDX-License-Identifier: Apache-2.0
//
// The cpu driver's table: each entry checks its pointers, calls CpuDevice, and hands its text over.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <string_view>

#include <echelon/chip_driver.h>

#include "chip/drivers/cpu/cpu_device.h"

// A device's handle is the device itself.
struct echelon_chip_device final : echelon::cpu::CpuDevice {
  using CpuDevice::CpuDevice;
};

namespace echelon::cpu {
namespace {

void put(echelon_chip_error* error, std::string_view text) {
  if (error == nullptr || error->text == nullptr || error->capacity == 0) return;
  const std::size_t bytes = std::min(text.size(), error->capacity - 1);
  std::memcpy(error->text, text.data(), bytes);
  error->text[bytes] = '\0';
}

/// Runs `call`, whose Outcome becomes the code and the text; nothing escapes.
template <class Call>
int guarded(echelon_chip_error* error, const Call& call) {
  try {
    const Outcome outcome = call();
    if (outcome.code != ECHELON_CHIP_OK) put(error, outcome.text);
    return outcome.code;
  } catch (const std::bad_alloc&) {
    put(error, "out of host memory");
    return ECHELON_CHIP_NO_MEMORY;
  } catch (const std::exception& thrown) {
    put(error, thrown.what());
    return ECHELON_CHIP_INTERNAL;
  }
}

int device_count(std::uint32_t* count, echelon_chip_error*) {
  *count = std::numeric_limits<std::uint32_t>::max();
  return ECHELON_CHIP_OK;
}

int open(std::uint32_t index, const echelon_chip_option* options, std::uint32_t option_count,
         echelon_chip_device** device, echelon_chip_error* error) {
  return guarded(error, [&] {
    DeviceOptions parsed;
    Outcome outcome = parse_options({options, option_count}, parsed);
    if (outcome.code == ECHELON_CHIP_OK) *device = new echelon_chip_device(index, parsed);
    return outcome;
  });
}

void close(echelon_chip_device* device) {
  delete device;
}

int device_info(echelon_chip_device* device, echelon_chip_device_info* info,
                echelon_chip_error* error) {
  return guarded(error, [&] {
    echelon_chip_device_info full{};
    device->info(full);
    full.struct_size = info->struct_size;
    // A caller built with an older header has room for less.
    std::memcpy(info, &full, std::min<std::size_t>(info->struct_size, sizeof full));
    return Outcome{};
  });
}

int allocate(echelon_chip_device* device, std::uint64_t bytes, std::uint64_t alignment,
             echelon_chip_memory* memory, echelon_chip_error* error) {
  return guarded(error, [&] { return device->allocate(bytes, alignment, *memory); });
}

int free_memory(echelon_chip_device* device, echelon_chip_memory memory,
                echelon_chip_error* error) {
  return guarded(error, [&] { return device->free(memory); });
}

int copy_in(echelon_chip_device* device, echelon_chip_memory to, std::uint64_t offset,
            const void* from, std::uint64_t bytes, echelon_chip_error* error) {
  return guarded(error, [&] { return device->copy_in(to, offset, from, bytes); });
}

int copy_out(echelon_chip_device* device, void* to, echelon_chip_memory from, std::uint64_t offset,
             std::uint64_t bytes, echelon_chip_error* error) {
  return guarded(error, [&] { return device->copy_out(to, from, offset, bytes); });
}

int fill(echelon_chip_device* device, echelon_chip_memory to, std::uint64_t offset,
         std::uint8_t value, std::uint64_t bytes, echelon_chip_error* error) {
  return guarded(error, [&] { return device->fill(to, offset, value, bytes); });
}

int load_image(echelon_chip_device* device, const void* bytes, std::uint64_t size,
               echelon_chip_image** image, echelon_chip_error* error) {
  return guarded(error, [&] {
    LoadedImage* loaded = nullptr;
    Outcome outcome = device->load({static_cast<const std::byte*>(bytes), size}, loaded);
    *image = reinterpret_cast<echelon_chip_image*>(loaded);
    return outcome;
  });
}

void unload_image(echelon_chip_device* device, echelon_chip_image* image) {
  device->unload(reinterpret_cast<const LoadedImage*>(image));
}

int find_kernel(echelon_chip_device* device, echelon_chip_image* image, const char* name,
                echelon_chip_kernel** kernel, echelon_chip_error* error) {
  return guarded(error, [&] {
    echelon_kernel_function function = nullptr;
    Outcome outcome =
        device->find_kernel(reinterpret_cast<const LoadedImage*>(image), name, function);
    *kernel = reinterpret_cast<echelon_chip_kernel*>(function);
    return outcome;
  });
}

int launch(echelon_chip_device* device, echelon_chip_kernel* kernel,
           const echelon_chip_launch_spec* spec, echelon_chip_launch* launched,
           echelon_chip_error* error) {
  return guarded(error, [&]() -> Outcome {
    if (kernel == nullptr || spec->struct_size < sizeof(echelon_chip_launch_spec)) {
      return {ECHELON_CHIP_INVALID, "launch: no kernel, or a launch spec of another version"};
    }
    return device->launch(reinterpret_cast<echelon_kernel_function>(kernel), *spec, *launched);
  });
}

int poll(echelon_chip_device* device, echelon_chip_launch launched, echelon_chip_error* error) {
  return guarded(error, [&] { return device->take_launch(launched); });
}

// Launches have ended when launch() returns: there is nothing to wait for.
int wait(echelon_chip_device* device, echelon_chip_launch launched, std::uint64_t,
         echelon_chip_error* error) {
  return poll(device, launched, error);
}

void fault(echelon_chip_device* device, echelon_chip_error* text) {
  put(text, device->last_fault());
}

int health(echelon_chip_device*, echelon_chip_error*) {
  return ECHELON_CHIP_OK;
}

constexpr echelon_chip_driver_v1 kTable = {
    .abi_version = ECHELON_CHIP_DRIVER_ABI,
    .struct_size = sizeof(echelon_chip_driver_v1),
    .name = "cpu",
    .version = "1",
    .device_count = device_count,
    .open = open,
    .close = close,
    .device_info = device_info,
    .allocate = allocate,
    .free = free_memory,
    .copy_in = copy_in,
    .copy_out = copy_out,
    .fill = fill,
    .load_image = load_image,
    .unload_image = unload_image,
    .find_kernel = find_kernel,
    .launch = launch,
    .poll = poll,
    .wait = wait,
    .fault = fault,
    .health = health,
    .window_allocate = nullptr,
    .window_export = nullptr,
    .window_import = nullptr,
    .window_flush = nullptr,
    .collectives = nullptr,
};

}  // namespace
}  // namespace echelon::cpu

extern "C" __attribute__((visibility("default"))) const echelon_chip_driver_v1*
echelon_chip_driver_get(std::uint32_t) {
  return &echelon::cpu::kTable;
}
