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
#include <echelon/handles.h>
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
  /// The library's own.
  explicit TaskArgs(detail::TaskContext& context) : context_(&context) {}

  /// Tensors of the task: `i` of handle() and tensor() is below it.
  std::size_t tensor_count() const;
  /// Scalars of the task: `i` of scalar() is below it.
  std::size_t scalar_count() const;
  /// How often it was given inline bytes: `i` of inline_bytes() is below it.
  std::size_t inline_count() const;

  /// Of tensor `i`: its element type, and whether its tag allows writing. Throw as handle().
  DType tensor_dtype(std::size_t i) const;
  /// Whether the tag of tensor `i` allows writing. Throws as handle().
  bool tensor_writable(std::size_t i) const;
  /// The type that scalar `i` was given with. Throws InvalidArgument where there is no scalar `i`.
  DType scalar_dtype(std::size_t i) const;

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

  /// What Args::inline_bytes() was given for the `i`-th time; not aligned. Valid while the task
  /// runs. Throws InvalidArgument where there is no such.
  std::span<const std::byte> inline_bytes(std::size_t i) const;

  /// The handle that Args::callable() put in, its first scalar being scalar `i`:
  /// `args.callable<SubHandle>(0)`. One of another kind than it was is refused by submit().
  template <class Handle>
  requires(detail::is_callable_handle<Handle>) Handle callable(std::size_t i)
  const {
    return Handle(detail::CallableRef{scalar<std::uint64_t>(i),
                                      static_cast<std::uint32_t>(scalar<std::uint64_t>(i + 1)),
                                      scalar<std::uint64_t>(i + 2)});
  }

  /// How the callable is to be run, as the submit or an Orchestrator above it said.
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

  /// For language bindings, when the callable has ended and somebody still holds memory of an
  /// argument: cuts them off. They see private memory from now on, and this process maps the
  /// tensors' memory anew. REQUIRES: nothing else of this process is using it. Throws Error where
  /// the machine refuses; the process must then not go on.
  void cut_off_tensors();

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
