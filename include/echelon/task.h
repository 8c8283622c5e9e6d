// SPDX-License-Identifier: Apache-2.0
//
// What a callable sees of its task: TaskArgs (orchestration functions), Task (sub functions).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include <echelon/call_config.h>
#include <echelon/export.h>
#include <echelon/tensor.h>

namespace echelon {

namespace detail {
struct TaskContext;
}

/// Result values are small: at most this many bytes; larger data belongs in a tensor.
inline constexpr std::size_t kResultBytesMax = 1 << 20;

/// The arguments of the running task. Valid while it runs. Threads: the one that runs the callable.
class ECHELON_API TaskArgs {
 public:
  explicit TaskArgs(detail::TaskContext& context) : context_(&context) {}

  std::size_t tensor_count() const;
  std::size_t scalar_count() const;

  /// Tensor `i` as a handle, to be submitted further down as its tag allows. Counted in the order
  /// in which tensors were added, scalars apart. Throws InvalidArgument where there is no tensor
  /// `i`.
  Tensor handle(std::size_t i) const;

  /// The elements of tensor `i`. `T` must be the tensor's element type, and const unless its tag
  /// allows writing: `task.tensor<const float>(0)`. Throws InvalidArgument otherwise.
  /// With a rank, `task.tensor<const float, 2>(0)`, a tensor of another rank is refused, too.
  template <class T, int kRank = -1>
  View<T> tensor(std::size_t i) const {
    return View<T>(layout(i, {dtype_of<T>(), !std::is_const_v<T>, kRank}));
  }

  /// Scalar `i`. `T` must be the type that was given. Throws InvalidArgument otherwise.
  template <class T>
  T scalar(std::size_t i) const {
    const std::uint64_t bits = scalar_bits(i, dtype_of<T>());
    T value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  const CallConfig& config() const;
  /// Path of the process this runs in: "pod0/host1/sub0".
  const std::string& path() const;
  /// True once the run was cancelled or the deadline passed: stop early. A task that has been told
  /// so does not end well, whatever it returns.
  bool cancelled() const;
  /// time_point::max() without a deadline.
  std::chrono::steady_clock::time_point deadline() const;

  /// A small value for TaskHandle::result<T>(); a callable's return value does the same.
  template <class T>
  requires(std::is_trivially_copyable_v<T>) void set_result(const T& value) {
    set_result_bytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  /// At most kResultBytesMax; throws InvalidArgument beyond.
  void set_result_bytes(std::span<const std::byte> bytes);

 protected:
  detail::ViewLayout layout(std::size_t i, const detail::ViewRequest& request) const;
  std::uint64_t scalar_bits(std::size_t i, DType dtype) const;

  detail::TaskContext* context_;
};

/// The argument of a sub function.
class Task : public TaskArgs {
 public:
  using TaskArgs::TaskArgs;
};

}  // namespace echelon
