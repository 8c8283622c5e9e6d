// SPDX-License-Identifier: Apache-2.0
//
// Args: what a task is given. Tensors with their tags, scalars with their types, and bytes:
// separate lists, in any order of calls:
//
//   Args().scalar(0.5f).input(x).output(y)
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <echelon/export.h>
#include <echelon/handles.h>
#include <echelon/tensor.h>

namespace echelon {

namespace detail {

/// The values of shm's Tag.
enum class ArgTag : std::uint8_t {
  kInput = 1,
  kOutput = 2,
  kInout = 3,
  kOutputExisting = 4,
  kNoDep = 5
};

struct ArgTensor {
  Tensor tensor;  // invalid: to be allocated by submit(), from dtype and shape
  ArgTag tag = ArgTag::kInput;
  DType dtype = DType::kNone;
  Shape shape;
};

struct ArgScalar {
  DType dtype = DType::kNone;
  std::uint64_t bits = 0;
};

/// A vector whose first N elements need no allocation.
template <class T, std::size_t N>
class ShortVector {
 public:
  void push_back(T value) {
    if (size_ < N)
      inline_[size_] = std::move(value);
    else
      more_.push_back(std::move(value));
    ++size_;
  }
  std::size_t size() const { return size_; }
  const T& operator[](std::size_t i) const { return i < N ? inline_[i] : more_[i - N]; }

 private:
  std::array<T, N> inline_{};
  std::vector<T> more_;
  std::size_t size_ = 0;
};

}  // namespace detail

/// What one task may be given of inline_bytes(), all together.
inline constexpr std::size_t kInlineBytesMax = std::size_t{1} << 20;

namespace detail {
/// Throws InvalidArgument where a task that has `count` inline arguments of `have` bytes cannot be
/// given `more` bytes.
ECHELON_API void check_inline_bytes(std::size_t count, std::size_t have, std::size_t more);
}  // namespace detail

/// Arguments of one task; a value. At most 64 tensors and 64 scalars (submit refuses more).
class Args {
 public:
  /// Read by the task.
  Args& input(const Tensor& tensor) { return add(tensor, detail::ArgTag::kInput); }
  /// Written whole by the task; old bytes are never read nor sent.
  Args& output(const Tensor& tensor) { return add(tensor, detail::ArgTag::kOutput); }
  /// Read and written in place.
  Args& inout(const Tensor& tensor) { return add(tensor, detail::ArgTag::kInout); }
  /// Written in part: what is not written stays as it was.
  Args& output_existing(const Tensor& tensor) {
    return add(tensor, detail::ArgTag::kOutputExisting);
  }
  /// Read without taking part in the ordering: the program promises what the tags would have.
  Args& no_dep(const Tensor& tensor) { return add(tensor, detail::ArgTag::kNoDep); }

  /// An output that submit() allocates; TaskHandle::output() has it.
  Args& output(Shape shape, DType dtype) {
    tensors_.push_back({Tensor(), detail::ArgTag::kOutput, dtype, std::move(shape)});
    return *this;
  }
  /// The same with the element type by its C++ type.
  template <class T>
  Args& output(Shape shape) {
    return output(std::move(shape), dtype_of<T>());
  }

  /// A number by value: bool, an integer or a floating-point type. Read back with the same type.
  template <class T>
  requires(!std::is_same_v<T, detail::ArgScalar>) Args& scalar(T value) {
    detail::ArgScalar scalar{dtype_of<T>(), 0};
    std::memcpy(&scalar.bits, &value, sizeof value);
    scalars_.push_back(scalar);
    return *this;
  }

  /// The library's own.
  Args& scalar(const detail::ArgScalar& scalar) {
    scalars_.push_back(scalar);
    return *this;
  }

  /// Bytes by value, copied now: a small table, a text. They travel within the task, wherever it
  /// runs, and are read there with TaskArgs::inline_bytes(); not by chip kernels. At most 64 times
  /// and 1 MiB in all for one task: throws InvalidArgument beyond. Larger data belongs in a tensor,
  /// which travels once, not with each task.
  Args& inline_bytes(std::span<const std::byte> bytes) {
    detail::check_inline_bytes(inlined_.size(), inlined_bytes_, bytes.size());
    inlined_bytes_ += bytes.size();
    inlined_.emplace_back(bytes.begin(), bytes.end());
    return *this;
  }
  /// The same for the elements of a span, as they lie in memory.
  template <class T>
  requires(std::is_trivially_copyable_v<T> && !std::is_same_v<std::remove_cv_t<T>, std::byte>)
      Args& inline_bytes(std::span<T> values) {
    return inline_bytes(std::as_bytes(values));
  }

  /// A handle of a callable, as three scalars: for an orchestration function that is to submit it.
  /// Read back with TaskArgs::callable(). REQUIRES: not empty.
  template <class Handle>
  requires(detail::is_callable_handle<Handle>) Args& callable(const Handle& handle) {
    const detail::CallableRef& ref = handle.ref();
    return scalar(ref.owner).scalar(std::uint64_t{ref.number}).scalar(ref.serial);
  }

  /// The library's own.
  const detail::ShortVector<detail::ArgTensor, 4>& tensors() const { return tensors_; }
  /// The library's own.
  const detail::ShortVector<detail::ArgScalar, 8>& scalars() const { return scalars_; }
  /// The library's own.
  const std::vector<std::vector<std::byte>>& inlined() const { return inlined_; }

 private:
  Args& add(const Tensor& tensor, detail::ArgTag tag) {
    tensors_.push_back({tensor, tag, DType::kNone, {}});
    return *this;
  }

  detail::ShortVector<detail::ArgTensor, 4> tensors_;
  detail::ShortVector<detail::ArgScalar, 8> scalars_;
  std::vector<std::vector<std::byte>> inlined_;
  std::size_t inlined_bytes_ = 0;
};

}  // namespace echelon
