// SPDX-License-Identifier: Apache-2.0
//
// Worker: its children on other hosts, and tensors in their memory.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include <echelon/remote.h>

#include "api/remote_memory.h"
#include "api/throw_status.h"
#include "api/worker_state.h"
#include "remote/transport.h"

namespace echelon {

using detail::throw_bad_argument;

namespace {

constexpr std::array<std::string_view, 3> kTlsFiles = {"ca.pem", "host.pem", "host.key"};
/// Shorter ones end sessions that only had to wait for the processor.
constexpr std::chrono::milliseconds kHealthDeadlineMin{100};
constexpr std::chrono::milliseconds kLeaseMax = std::chrono::hours(24);
constexpr std::chrono::milliseconds kConnectMax = std::chrono::hours(24);

/// Of one that a session on another host reaches, from there and with the keys of that host.
void check_tls_below(const RemoteWorkerSpec& spec, const std::string& call) {
  detail::value_or_throw(address_is_local(spec.address));
  if (spec.tls_dir.empty()) return;
  throw_bad_argument(fmt::format(
      "{}: tls_dir {}: below a Worker on another host the keys are those of that host's "
      "daemon; leave it empty",
      call, spec.tls_dir));
}

void check_tls(const RemoteWorkerSpec& spec, const std::string& call) {
  const bool local = detail::value_or_throw(address_is_local(spec.address));
  if (!spec.tls_dir.empty() && spec.insecure) {
    throw_bad_argument(
        fmt::format("{}: tls_dir and insecure exclude each other; give one of them", call));
  }
  if (!local && spec.tls_dir.empty() && !spec.insecure) {
    throw_bad_argument(
        fmt::format("{}: {} is another host, and nothing protects the way there: give tls_dir (see "
                    "`echelon keys`), or say insecure",
                    call, spec.address));
  }
  if (spec.tls_dir.empty()) return;
  for (const std::string_view name : kTlsFiles) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(std::filesystem::path(spec.tls_dir) / name, ignored)) {
      continue;
    }
    throw_bad_argument(fmt::format("{}: tls_dir {} has no {}; `echelon keys issue` makes it", call,
                                   spec.tls_dir, name));
  }
}

void check_times(const RemoteWorkerSpec& spec, const std::string& call) {
  if (spec.connect_timeout.count() <= 0) {
    throw_bad_argument(fmt::format("{}: no time to connect in (connect_timeout)", call));
  }
  if (spec.connect_timeout > kConnectMax) {
    throw_bad_argument(fmt::format("{}: a connect_timeout of {} ms; at most {} ms", call,
                                   spec.connect_timeout.count(), kConnectMax.count()));
  }
  if (spec.health_deadline < kHealthDeadlineMin || spec.health_deadline > spec.lease ||
      spec.lease > kLeaseMax) {
    throw_bad_argument(fmt::format(
        "{}: a health_deadline of {} ms and a lease of {} ms; {} ms <= health_deadline <= lease <= "
        "{} ms",
        call, spec.health_deadline.count(), spec.lease.count(), kHealthDeadlineMin.count(),
        kLeaseMax.count()));
  }
}

void check_lane(const RemoteWorkerSpec& spec, const std::string& call) {
  if (spec.lane == "grpc" || spec.lane == "auto") return;
  throw_bad_argument(fmt::format(
      "{}: there is no lane \"{}\" here; \"grpc\" and \"auto\" are there", call, spec.lane));
}

WorkerOptions checked_options(const RemoteWorkerSpec& spec) {
  WorkerOptions options;
  options.level = spec.level;
  options.name = spec.name;
  options.sub_workers = spec.sub_workers;
  options.chips = spec.chips;
  options.unresponsive_after = spec.unresponsive_after;
  options.memory_bytes_max = spec.memory_bytes_max;
  return detail::checked(std::move(options));
}

}  // namespace

std::shared_ptr<Worker::State> Worker::State::make_remote(const RemoteWorkerSpec& spec) const {
  if (spec.name.empty()) throw_bad_argument("add_remote_worker: the name is empty; give it one");
  const std::string call = fmt::format("add_remote_worker: {}", spec.name);
  check_below("add_remote_worker", spec.name, spec.level);
  WorkerOptions checked = checked_options(spec);
  remote != nullptr ? check_tls_below(spec, call) : check_tls(spec, call);
  check_lane(spec, call);
  check_times(spec, call);
  if (spec.stage == Stage::kDefault) {
    throw_bad_argument(fmt::format("{}: stage is kRefuse or kCopy", call));
  }
  check_room_below("add_remote_worker", spec.name);
  auto below = std::make_shared<State>(std::move(checked), SystemEnv().random_nonzero());
  below->remote = std::make_shared<const RemoteWorkerSpec>(spec);
  below->has_parent = true;
  for (const RemoteWorkerSpec& further : spec.remote_workers) {
    auto child = below->make_remote(further);
    child->parent = below;
    below->adopt(std::move(child));
  }
  return below;
}

WorkerId Worker::add_remote_worker(const RemoteWorkerSpec& spec) {
  state().check_here("add_remote_worker");
  const std::lock_guard lock(state().mutex);
  auto below = state().make_remote(spec);
  below->parent = state_;
  return state().adopt(std::move(below));
}

// --- tensors
// ------------------------------------------------------------------------------------------

namespace {

using detail::TensorAccess;

/// The bytes [offset, offset + count) of a contiguous remote tensor as a tensor of bytes.
Tensor part_of(const Tensor& remote, std::size_t offset, std::size_t count, const char* call) {
  const detail::TensorState* state = TensorAccess::state(remote);
  if (state == nullptr) throw_bad_argument(fmt::format("{}: the tensor is empty", call));
  detail::throw_if_error(state->buffer->check_usable());
  if (!detail::is_remote(*state->buffer.get())) {
    throw_bad_argument(
        fmt::format("{}: {} is not in a remote Worker's memory; use data(), in "
                    "Python array(), or orch.copy()",
                    call, remote.describe()));
  }
  const TensorDesc& desc = state->desc;
  if (!desc.contiguous()) {
    throw_bad_argument(
        fmt::format("{}: {} is not contiguous; copy whole rows of it, or use "
                    "orch.copy()",
                    call, remote.describe()));
  }
  const std::uint64_t bytes = desc.payload_bytes();
  if (offset > bytes || count > bytes - offset) {
    throw_bad_argument(fmt::format("{}: bytes {} to {} of {}, which has {}", call, offset,
                                   offset + count, remote.describe(), bytes));
  }
  const std::array<std::int64_t, 1> shape = {static_cast<std::int64_t>(count)};
  TensorDesc part =
      make_contiguous(desc.issuer, desc.buffer, desc.home, DType::kUInt8, shape, desc.access);
  part.offset = desc.offset + offset;
  return TensorAccess::make(part, state->buffer);
}

}  // namespace

Tensor Worker::remote_tensor(WorkerId worker, Shape shape, DType dtype) {
  const auto node = state().running("remote_tensor");
  return detail::allocate_remote(*node, ChildIndex{worker.value}, shape, dtype, true);
}

Run Worker::copy_to_async(const Tensor& remote, std::span<const std::byte> bytes,
                          std::size_t offset, std::shared_ptr<const void> keeps) {
  const auto node = state().running("copy_to");
  const Tensor to = part_of(remote, offset, bytes.size(), "copy_to");
  if (bytes.empty()) return submit([](Orchestrator&) {});
  // Read only: the handle does not allow more.
  const std::span memory(const_cast<std::byte*>(bytes.data()), bytes.size());
  const Tensor from = node->memory().borrow(memory, Access::kRead, std::move(keeps));
  return submit([&](Orchestrator& orch) { orch.copy(to, from); });
}

Run Worker::copy_from_async(const Tensor& remote, std::span<std::byte> bytes, std::size_t offset,
                            std::shared_ptr<const void> keeps) {
  const auto node = state().running("copy_from");
  const Tensor from = part_of(remote, offset, bytes.size(), "copy_from");
  if (bytes.empty()) return submit([](Orchestrator&) {});
  const Tensor to = node->memory().borrow(bytes, Access::kReadWrite, std::move(keeps));
  return submit([&](Orchestrator& orch) { orch.copy(to, from); });
}

// Run::wait() leaves a run that was begun only when that has ended, so that the memory is the
// caller's again, whatever is thrown.

void Worker::copy_to(const Tensor& remote, std::span<const std::byte> bytes, std::size_t offset) {
  copy_to_async(remote, bytes, offset, nullptr).wait();
}

void Worker::copy_from(const Tensor& remote, std::span<std::byte> bytes, std::size_t offset) {
  copy_from_async(remote, bytes, offset, nullptr).wait();
}

}  // namespace echelon
