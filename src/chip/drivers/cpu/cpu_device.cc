// SPDX-License-Identifier: Apache-2.0
#include "chip/drivers/cpu/cpu_device.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string_view>

#include <echelon/dtype.h>

namespace echelon::cpu {
namespace {

Outcome invalid(std::string text) {
  return {ECHELON_CHIP_INVALID, std::move(text)};
}

std::uint64_t machine_memory_bytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return std::uint64_t{1} << 30;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
}

std::uint32_t usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
  }
  return static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value != 0;
}

}  // namespace

Outcome parse_options(std::span<const echelon_chip_option> options, DeviceOptions& parsed) {
  for (const echelon_chip_option& option : options) {
    const std::string_view key = option.key, value = option.value;
    bool good = false;
    if (key == "memory") {
      good = parse_number(value, parsed.memory_bytes);
    } else if (key == "cores") {
      good = parse_number(value, parsed.cores) && parsed.cores <= kCoresMax;
    } else {
      return invalid("cpu: unknown option '" + std::string(key) +
                     "'; it knows memory (bytes) and cores");
    }
    if (!good) {
      return invalid("cpu: option " + std::string(key) + "='" + std::string(value) +
                     "': expected a number of " + (key == "memory" ? "bytes" : "cores, 1..256"));
    }
  }
  return {};
}

CpuDevice::CpuDevice(std::uint32_t index, const DeviceOptions& options)
    : index_(index),
      cores_(options.cores != 0 ? options.cores : std::min(usable_processors(), kCoresMax)),
      arena_(options.memory_bytes != 0 ? options.memory_bytes : machine_memory_bytes()) {}

void CpuDevice::info(echelon_chip_device_info& info) const {
  info.cores = cores_;
  info.cores_max = kCoresMax;
  info.launches_max = kLaunchesMax;
  info.memory_bytes = arena_.bytes_max();
  info.memory_free_bytes = arena_.bytes_free();
  std::snprintf(info.name, sizeof info.name, "cpu %u: %u cores", index_, cores_);
}

// --- memory
// ---------------------------------------------------------------------------------------

Outcome CpuDevice::allocate(std::uint64_t bytes, std::uint64_t alignment,
                            echelon_chip_memory& memory) {
  if (bytes == 0) return invalid("allocate: 0 bytes");
  if ((alignment & (alignment - 1)) != 0 || alignment > Arena::kAlignmentMax) {
    return invalid("allocate: alignment " + std::to_string(alignment) +
                   " is not a power of two up to 4096");
  }
  const std::uint64_t name = arena_.allocate(bytes, alignment);
  if (name == 0) {
    return {ECHELON_CHIP_NO_MEMORY,
            std::to_string(bytes) + " bytes do not fit: " + std::to_string(arena_.bytes_free()) +
                " of " + std::to_string(arena_.bytes_max()) + " bytes are free"};
  }
  memory = name;
  return {};
}

Outcome CpuDevice::free(echelon_chip_memory memory) {
  if (arena_.free(memory)) return {};
  return invalid("free: memory " + std::to_string(memory) + " is not allocated");
}

Outcome CpuDevice::range(const char* call, echelon_chip_memory memory, std::uint64_t offset,
                         std::uint64_t bytes, std::byte*& at) const {
  const Arena::Piece piece = arena_.find(memory);
  if (piece.data == nullptr) {
    return invalid(std::string(call) + ": memory " + std::to_string(memory) + " is not allocated");
  }
  if (offset > piece.bytes || bytes > piece.bytes - offset) {
    return invalid(std::string(call) + ": " + std::to_string(bytes) + " bytes at offset " +
                   std::to_string(offset) + " leave an allocation of " +
                   std::to_string(piece.bytes));
  }
  at = piece.data + offset;
  return {};
}

Outcome CpuDevice::copy_in(echelon_chip_memory to, std::uint64_t offset, const void* from,
                           std::uint64_t bytes) {
  std::byte* at = nullptr;
  Outcome outcome = range("copy_in", to, offset, bytes, at);
  if (outcome.code == ECHELON_CHIP_OK && bytes != 0) std::memcpy(at, from, bytes);
  return outcome;
}

Outcome CpuDevice::copy_out(void* to, echelon_chip_memory from, std::uint64_t offset,
                            std::uint64_t bytes) {
  std::byte* at = nullptr;
  Outcome outcome = range("copy_out", from, offset, bytes, at);
  if (outcome.code == ECHELON_CHIP_OK && bytes != 0) std::memcpy(to, at, bytes);
  return outcome;
}

Outcome CpuDevice::fill(echelon_chip_memory to, std::uint64_t offset, std::uint8_t value,
                        std::uint64_t bytes) {
  std::byte* at = nullptr;
  Outcome outcome = range("fill", to, offset, bytes, at);
  if (outcome.code == ECHELON_CHIP_OK && bytes != 0) std::memset(at, value, bytes);
  return outcome;
}

// --- images
// ---------------------------------------------------------------------------------------

Outcome CpuDevice::load(std::span<const std::byte> bytes, LoadedImage*& image) {
  std::string why;
  auto loaded = LoadedImage::load(bytes, why);
  if (loaded == nullptr) return {ECHELON_CHIP_IMAGE, "the image does not load: " + why};
  image = loaded.get();
  images_.emplace(image, std::move(loaded));
  return {};
}

bool CpuDevice::unload(const LoadedImage* image) {
  return images_.erase(image) != 0;
}

Outcome CpuDevice::find_kernel(const LoadedImage* image, const char* name,
                               echelon_kernel_function& kernel) {
  const auto found = images_.find(image);
  if (found == images_.end()) return invalid("find_kernel: the image is not loaded");
  const echelon_kernel_function function = found->second->find(name);
  if (function == nullptr) {
    return {ECHELON_CHIP_NOT_FOUND, "the image has no kernel '" + std::string(name) + "'"};
  }
  kernel = function;
  return {};
}

// --- launches
// -------------------------------------------------------------------------------------

/// One launch while it runs; shared by its cores.
struct CpuDevice::Run {
  echelon_kernel_function kernel;
  const echelon_kernel_args& args;
  echelon_kernel_context context;  // of block 0; each call gets a copy of its own
  std::uint64_t blocks;
  std::atomic<std::uint64_t> next{0};
  // Blocks are not begun any more; the text follows under the mutex and is read after the cores
  // have left.
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string text;

  static void fail(const echelon_kernel_context* context, const char* text) {
    auto& run = *static_cast<Run*>(context->driver);
    const std::lock_guard lock(run.mutex);
    if (run.failed.exchange(true, std::memory_order_relaxed)) return;
    run.text = text != nullptr && *text != '\0' ? text : "the kernel failed without a text";
  }
};

Outcome CpuDevice::launch(echelon_kernel_function kernel, const echelon_chip_launch_spec& spec,
                          echelon_chip_launch& launch) {
  Ended& place = ended_[(launches_ + 1) % kLaunchesMax];
  if (place.launch != 0) return {ECHELON_CHIP_BUSY, "16 launches ended and were not waited for"};
  if (Outcome bad = check_grid(spec); bad.code != ECHELON_CHIP_OK) return bad;
  if (Outcome bad = bind(spec); bad.code != ECHELON_CHIP_OK) return bad;

  const std::uint32_t cores = spec.cores != 0 ? spec.cores : cores_;
  const std::uint64_t blocks = std::uint64_t{spec.grid[0]} * spec.grid[1] * spec.grid[2];
  Run run{
      .kernel = kernel, .args = args_, .context = {}, .blocks = blocks, .mutex = {}, .text = {}};
  run.context.struct_size = sizeof run.context;
  std::copy_n(spec.grid, 3, run.context.grid);
  run.context.cores = cores;
  run.context.profiling = spec.profiling;
  run.context.fail = &Run::fail;
  run.context.driver = &run;

  if (blocks == 1) {
    run_blocks(run, 0);
  } else {
    const auto threads = static_cast<unsigned>(std::min<std::uint64_t>(cores, blocks));
    pool_.run(threads, [&run](unsigned core) { run_blocks(run, core); });
  }
  launch = place.launch = ++launches_;
  place.outcome = {};
  if (run.failed.load(std::memory_order_relaxed)) {
    place.outcome = {ECHELON_CHIP_FAULT, std::move(run.text)};
    const std::lock_guard lock(fault_mutex_);
    fault_ = place.outcome.text;
  }
  return {};
}

void CpuDevice::run_blocks(Run& run, unsigned core) {
  echelon_kernel_context context = run.context;
  context.core = core;
  const std::uint64_t width = context.grid[0];
  const std::uint64_t layer = width * context.grid[1];
  while (!run.failed.load(std::memory_order_relaxed)) {
    const std::uint64_t block = run.next.fetch_add(1, std::memory_order_relaxed);
    if (block >= run.blocks) return;
    context.grid_index[0] = static_cast<std::uint32_t>(block % width);
    context.grid_index[1] = static_cast<std::uint32_t>(block % layer / width);
    context.grid_index[2] = static_cast<std::uint32_t>(block / layer);
    try {
      run.kernel(&run.args, &context);
    } catch (const std::exception& error) {
      Run::fail(&context, error.what());
    } catch (...) {
      // echelon::kernel::Stop comes after its text; anything else has none.
      Run::fail(&context, "the kernel threw something that is no std::exception");
    }
  }
}

Outcome CpuDevice::take_launch(echelon_chip_launch launch) {
  Ended& place = ended_[launch % kLaunchesMax];
  if (launch == 0 || place.launch != launch) {
    return invalid("launch " + std::to_string(launch) + " is not in flight");
  }
  place.launch = 0;
  return std::move(place.outcome);
}

Outcome CpuDevice::check_grid(const echelon_chip_launch_spec& spec) const {
  constexpr auto kBlocksMax = std::numeric_limits<std::uint32_t>::max();
  std::uint64_t blocks = 1;
  for (const std::uint32_t extent : spec.grid) {
    if (extent == 0) return invalid("launch: a grid extent is 0; each is at least 1");
    blocks *= extent;
    if (blocks > kBlocksMax) return invalid("launch: the grid has more than 2^32 - 1 blocks");
  }
  if (spec.cores > kCoresMax) {
    return invalid("launch: " + std::to_string(spec.cores) + " cores; at most 256");
  }
  return {};
}

Outcome CpuDevice::bind(const echelon_chip_launch_spec& spec) {
  tensors_.resize(spec.tensor_count);
  for (std::size_t i = 0; i < spec.tensor_count; ++i) {
    if (Outcome bad = bind_tensor(spec.tensors[i], i, tensors_[i]); bad.code != ECHELON_CHIP_OK) {
      return bad;
    }
  }
  scalars_.resize(spec.scalar_count);
  for (std::size_t i = 0; i < spec.scalar_count; ++i) {
    scalars_[i] = {};
    scalars_[i].dtype = spec.scalars[i].dtype;
    std::memcpy(scalars_[i].bytes, spec.scalars[i].bytes, sizeof scalars_[i].bytes);
  }
  values_.resize(spec.value_count);
  for (std::size_t i = 0; i < spec.value_count; ++i) {
    values_[i] = {spec.values[i].key, spec.values[i].value};
  }
  args_.struct_size = sizeof args_;
  args_.tensor_count = spec.tensor_count;
  args_.scalar_count = spec.scalar_count;
  args_.value_count = spec.value_count;
  args_.tensors = tensors_.data();
  args_.scalars = scalars_.data();
  args_.values = values_.data();
  return {};
}

Outcome CpuDevice::bind_tensor(const echelon_chip_tensor& from, std::size_t index,
                               echelon_kernel_tensor& to) const {
  const auto refuse = [index](const std::string& text) {
    return invalid("launch: tensor " + std::to_string(index) + ": " + text);
  };
  const std::size_t element = size_of(static_cast<DType>(from.dtype));
  if (element == 0) return refuse("no element type " + std::to_string(from.dtype));
  if (from.rank > ECHELON_CHIP_RANK_MAX) return refuse("rank " + std::to_string(from.rank));
  to = {};
  to.dtype = from.dtype;
  to.rank = from.rank;
  to.access = from.access;
  // 128 bits: extents and strides are anybody's numbers.
  __extension__ using Wide = unsigned __int128;
  Wide span = element;
  bool empty = false;
  for (unsigned i = 0; i < from.rank; ++i) {
    if (from.extent[i] < 0 || from.stride[i] < 0) return refuse("a negative extent or stride");
    to.extent[i] = from.extent[i];
    to.stride[i] = from.stride[i];
    empty = empty || from.extent[i] == 0;
    if (from.extent[i] > 0) {
      span += static_cast<Wide>(from.extent[i] - 1) * static_cast<Wide>(from.stride[i]);
    }
  }
  if (empty) return {};
  const Arena::Piece piece = arena_.find(from.memory);
  if (piece.data == nullptr) {
    return refuse("memory " + std::to_string(from.memory) + " is not allocated");
  }
  if (from.offset > piece.bytes || span > piece.bytes - from.offset) {
    return refuse("it leaves its allocation of " + std::to_string(piece.bytes) + " bytes");
  }
  to.data = piece.data + from.offset;
  return {};
}

std::string CpuDevice::last_fault() const {
  const std::lock_guard lock(fault_mutex_);
  return fault_;
}

}  // namespace echelon::cpu
