// SPDX-License-Identifier: Apache-2.0
#include "chip/chip_worker.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "chip/strided.h"
#include "shm/pool.h"

namespace echelon {
namespace {

/// Scratch memory beyond this is given back after the task.
constexpr std::size_t kScratchKeptBytesMax = std::size_t{64} << 20;

bool copied_in(Tag tag) {
  return tag != Tag::kOutput;
}
bool copied_back(Tag tag) {
  return allows(access_for(tag), Access::kWrite);
}

Cause cause_of(const ErrorInfo& info) {
  if (info.cause != Cause::kNone) return info.cause;
  switch (info.reason) {
    case Reason::kException:
      return Cause::kException;
    case Reason::kStaleHandle:
      return Cause::kStaleHandle;
    case Reason::kExhausted:
      return Cause::kOutOfMemory;
    case Reason::kCancelled:
      return Cause::kCancelled;
    default:
      return Cause::kRefused;
  }
}

Status bad_argument(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument, std::move(message));
}

/// Which tensor of the task it was.
Status at_tensor(std::size_t index, const Status& status) {
  ErrorInfo info = status.info();
  info.message = fmt::format("tensor {}: {}", index, info.message);
  return Status(std::move(info));
}

echelon_chip_tensor describe(const TensorDesc& desc) {
  echelon_chip_tensor tensor{};
  tensor.dtype = static_cast<std::uint8_t>(desc.dtype);
  tensor.rank = desc.rank;
  std::copy_n(desc.extent.begin(), desc.rank, tensor.extent);
  std::copy_n(desc.stride.begin(), desc.rank, tensor.stride);
  return tensor;
}

/// Row-major strides without gaps.
void make_dense(echelon_chip_tensor& tensor, std::size_t element_bytes) {
  auto stride = static_cast<std::int64_t>(element_bytes);
  for (unsigned i = tensor.rank; i-- > 0;) {
    tensor.stride[i] = stride;
    stride *= std::max<std::int64_t>(tensor.extent[i], 1);
  }
}

/// A kernel may read what it updates in part; an INPUT may not be written.
std::uint8_t kernel_access(Tag tag) {
  if (!copied_back(tag)) return static_cast<std::uint8_t>(Access::kRead);
  return static_cast<std::uint8_t>(tag == Tag::kOutput ? Access::kWrite : Access::kReadWrite);
}

}  // namespace

ChipWorker::ChipWorker(ChipDevice& device, Uid self, HostTensors& hosts, ChipCounters& counters,
                       Env& env)
    : device_(device),
      self_(self),
      hosts_(hosts),
      counters_(counters),
      env_(env),
      staging_(device),
      buffers_(device, staging_) {}

ChipWorker::~ChipWorker() {
  for (const auto& [slot, loaded] : kernels_) device_.unload(loaded.kernel);
}

Status ChipWorker::add_image(CallableSlot slot, const PushedImage& image) {
  ECHELON_ASSIGN_OR_RETURN(const ChipDevice::Kernel kernel,
                           device_.load(image.bytes(), image.kernel()));
  LoadedKernel& place = kernels_[slot];
  device_.unload(place.kernel);
  place = {kernel, image.kernel(), Status()};
  return Status();
}

void ChipWorker::load_late() {
  for (const auto& [slot, image] : late_->take()) {
    if (const auto found = kernels_.find(slot); found != kernels_.end()) {
      device_.unload(found->second.kernel);
      kernels_.erase(found);
    }
    if (!image.has_value()) continue;
    const Status loaded = add_image(slot, *image);
    if (!loaded.ok()) kernels_[slot].failed = loaded;
  }
}

void ChipWorker::release_buffer(BufferId id) {
  buffers_.release(id);
}

void ChipWorker::run(const TaskFrame& task, ResultSink& sink) {
  enter(Phase::kStaging);
  if (late_->pending()) load_late();
  Status status;
  if (task.kind == TaskKind::kChip) {
    status = run_kernel(task);
    unstage();
  } else if (task.kind == TaskKind::kCopy) {
    status = run_copy(task);
  } else {
    status = bad_argument(
        fmt::format("a chip runs chip tasks and copies; this is a {} task", to_string(task.kind)));
  }
  if (scratch_.size() > kScratchKeptBytesMax) std::vector<std::byte>().swap(scratch_);
  if (status.ok()) return;
  ErrorInfo info = status.info();
  info.phase = phase_;
  info.time_in_phase = std::chrono::nanoseconds(env_.now_ns() - phase_since_ns_);
  info.cause = cause_of(info);
  sink.error(info);
}

void ChipWorker::enter(Phase phase) {
  phase_ = phase;
  phase_since_ns_ = env_.now_ns();
}

// --- kernels
// --------------------------------------------------------------------------------------

Status ChipWorker::run_kernel(const TaskFrame& task) {
  const auto found = kernels_.find(task.slot);
  if (found == kernels_.end()) {
    return Status::error(Code::kNotFound, Reason::kImage,
                         fmt::format("no image is loaded in slot {}", task.slot.value));
  }
  ECHELON_RETURN_IF_ERROR(found->second.failed);
  ECHELON_RETURN_IF_ERROR(bind(task.body));
  if (task.cancelled()) {
    return Status::error(Code::kCancelled, Reason::kCancelled, "cancelled before its launch");
  }
  const CallConfig& config = task.body.config;
  echelon_chip_launch_spec spec{};
  spec.struct_size = sizeof spec;
  std::copy(config.grid.begin(), config.grid.end(), spec.grid);
  spec.cores = config.cores;
  spec.profiling = config.profiling;
  spec.tensor_count = static_cast<std::uint32_t>(tensors_.size());
  spec.scalar_count = static_cast<std::uint32_t>(scalars_.size());
  spec.value_count = static_cast<std::uint32_t>(values_.size());
  spec.tensors = tensors_.data();
  spec.scalars = scalars_.data();
  spec.values = values_.data();
  enter(Phase::kRunning);
  ECHELON_RETURN_IF_ERROR(device_.run(found->second.kernel, spec));
  enter(Phase::kReturning);
  return return_results();
}

Status ChipWorker::bind(const TaskBody& body) {
  tensors_.resize(body.tensors.size());
  for (std::size_t i = 0; i < body.tensors.size(); ++i) {
    if (Status status = bind_tensor(body.tensors[i], tensors_[i]); !status.ok()) {
      return at_tensor(i, status);
    }
  }
  scalars_.resize(body.scalars.size());
  for (std::size_t i = 0; i < body.scalars.size(); ++i) {
    scalars_[i] = {};
    scalars_[i].dtype = static_cast<std::uint8_t>(body.scalars[i].dtype);
    std::memcpy(scalars_[i].bytes, &body.scalars[i].bits, sizeof body.scalars[i].bits);
  }
  values_.clear();
  for (const auto& [key, value] : body.config.values) {
    values_.push_back({key.c_str(), value.c_str()});
  }
  return Status();
}

Status ChipWorker::bind_tensor(const TaggedTensor& tensor, echelon_chip_tensor& bound) {
  bound = describe(tensor.desc);
  bound.access = kernel_access(tensor.tag);
  if (tensor.desc.home != self_) return stage(tensor, bound);
  ECHELON_ASSIGN_OR_RETURN(const DeviceBuffers::Buffer buffer,
                           device_buffer(tensor.desc, access_for(tensor.tag)));
  bound.memory = buffer.memory;
  bound.offset = tensor.desc.offset;
  return Status();
}

Status ChipWorker::stage(const TaggedTensor& tensor, echelon_chip_tensor& bound) {
  const TensorDesc& desc = tensor.desc;
  ECHELON_ASSIGN_OR_RETURN(std::byte* const host, hosts_.open(desc, access_for(tensor.tag)));
  const std::uint64_t bytes = desc.payload_bytes();
  ECHELON_ASSIGN_OR_RETURN(const StagingCache::Piece piece, staging_.take(bytes));
  staged_.push_back({desc, piece, host, copied_back(tensor.tag)});
  bound.memory = piece.memory;
  make_dense(bound, size_of(desc.dtype));
  if (!copied_in(tensor.tag)) return Status();
  count_in(bytes);
  if (desc.contiguous()) return device_.copy_in(piece.memory, 0, {host, bytes});
  const std::span<std::byte> dense = scratch(bytes);
  gather(desc, host, dense.data());
  return device_.copy_in(piece.memory, 0, dense);
}

Status ChipWorker::return_results() {
  for (const Staged& staged : staged_) {
    if (!staged.back) continue;
    const std::uint64_t bytes = staged.desc.payload_bytes();
    count_out(bytes);
    if (staged.desc.contiguous()) {
      ECHELON_RETURN_IF_ERROR(device_.copy_out({staged.host, bytes}, staged.piece.memory, 0));
      continue;
    }
    const std::span<std::byte> dense = scratch(bytes);
    ECHELON_RETURN_IF_ERROR(device_.copy_out(dense, staged.piece.memory, 0));
    scatter(staged.desc, dense.data(), staged.host);
  }
  return Status();
}

void ChipWorker::unstage() {
  for (const Staged& staged : staged_) staging_.give_back(staged.piece);
  staged_.clear();
}

// --- copies
// ---------------------------------------------------------------------------------------

Status ChipWorker::run_copy(const TaskFrame& task) {
  const auto& tensors = task.body.tensors;
  if (tensors.size() != 2) {
    return bad_argument(fmt::format("a copy has two tensors, not {}", tensors.size()));
  }
  const std::size_t to = copied_back(tensors[0].tag) ? 0 : 1;
  const TensorDesc& target = tensors[to].desc;
  const TensorDesc& source = tensors[1 - to].desc;
  if (!copied_back(tensors[to].tag) || copied_back(tensors[1 - to].tag)) {
    return bad_argument("a copy has one tensor to write and one to read");
  }
  if (target.dtype != source.dtype || target.element_count() != source.element_count()) {
    return Status::error(Code::kInvalidArgument, Reason::kWrongType,
                         fmt::format("copy: the source has {} elements of {}, the target {} of {}",
                                     source.element_count(), to_string(source.dtype),
                                     target.element_count(), to_string(target.dtype)));
  }
  const std::uint64_t bytes = source.payload_bytes();
  enter(Phase::kRunning);
  // A host tensor without gaps is read where it lies; all else by way of the scratch memory. Views
  // of one buffer may overlap, so there it is the scratch memory, too.
  const bool one_buffer = source.issuer == target.issuer && source.buffer == target.buffer;
  if (source.home != self_ && source.contiguous() && !one_buffer) {
    ECHELON_ASSIGN_OR_RETURN(std::byte* const from, hosts_.open(source, Access::kRead));
    return write_tensor(target, {from, bytes});
  }
  const std::span<std::byte> dense = scratch(bytes);
  ECHELON_RETURN_IF_ERROR(read_tensor(source, dense));
  return write_tensor(target, dense);
}

Status ChipWorker::read_tensor(const TensorDesc& desc, std::span<std::byte> dense) {
  if (desc.home != self_) {
    ECHELON_ASSIGN_OR_RETURN(std::byte* const from, hosts_.open(desc, Access::kRead));
    gather(desc, from, dense.data());
    return Status();
  }
  ECHELON_ASSIGN_OR_RETURN(const DeviceBuffers::Buffer buffer, device_buffer(desc, Access::kRead));
  count_out(dense.size());
  const RunShape shape = runs_of(desc);
  Status status;
  for_each_run(shape, [&](std::uint64_t offset, std::uint64_t at) {
    if (!status.ok()) return;
    status =
        device_.copy_out(dense.subspan(at, shape.run_bytes), buffer.memory, desc.offset + offset);
  });
  return status;
}

Status ChipWorker::write_tensor(const TensorDesc& desc, std::span<const std::byte> dense) {
  if (desc.home != self_) {
    ECHELON_ASSIGN_OR_RETURN(std::byte* const to, hosts_.open(desc, Access::kWrite));
    scatter(desc, dense.data(), to);
    return Status();
  }
  ECHELON_ASSIGN_OR_RETURN(const DeviceBuffers::Buffer buffer, device_buffer(desc, Access::kWrite));
  count_in(dense.size());
  const RunShape shape = runs_of(desc);
  Status status;
  for_each_run(shape, [&](std::uint64_t offset, std::uint64_t at) {
    if (!status.ok()) return;
    status =
        device_.copy_in(buffer.memory, desc.offset + offset, dense.subspan(at, shape.run_bytes));
  });
  return status;
}

// --- memory
// ---------------------------------------------------------------------------------------

Result<DeviceBuffers::Buffer> ChipWorker::device_buffer(const TensorDesc& desc, Access want) {
  DeviceBuffers::Buffer buffer;
  if (const auto* known = buffers_.find(desc.issuer, desc.buffer)) {
    buffer = *known;
  } else {
    ECHELON_ASSIGN_OR_RETURN(const std::uint64_t bytes,
                             hosts_.buffer_bytes(desc.issuer, desc.buffer));
    ECHELON_ASSIGN_OR_RETURN(buffer, buffers_.add(desc.issuer, desc.buffer, bytes));
  }
  ECHELON_RETURN_IF_ERROR(check_view(desc, want, buffer.bytes));
  return buffer;
}

std::span<std::byte> ChipWorker::scratch(std::uint64_t bytes) {
  if (scratch_.size() < bytes) scratch_.resize(bytes);
  return std::span(scratch_).first(bytes);
}

void ChipWorker::count_in(std::uint64_t bytes) {
  counters_.bytes_in.fetch_add(bytes, std::memory_order_relaxed);
}

void ChipWorker::count_out(std::uint64_t bytes) {
  counters_.bytes_out.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace echelon
