// SPDX-License-Identifier: Apache-2.0
//
// Tensor: a handle of memory somewhere in the tree. View<T>: its elements, where they can be
// touched.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <echelon/dtype.h>
#include <echelon/export.h>

namespace echelon {

/// Extents in elements, outermost first; rank 0 (empty) is one element; at most 8.
using Shape = std::vector<std::int64_t>;

namespace detail {
struct TensorState;
struct TensorAccess;

/// How a view is asked for.
struct ViewRequest {
  DType dtype = DType::kNone;
  bool writable = false;
  int rank = -1;  // -1: any
};

/// Where a view's elements are. Strides in elements.
struct ViewLayout {
  void* data = nullptr;
  std::size_t size = 0;
  std::uint8_t rank = 0;
  bool contiguous = true;
  std::array<std::int64_t, 8> extent{};
  std::array<std::int64_t, 8> stride{};
};
ECHELON_API std::ptrdiff_t element_offset(const ViewLayout& layout, std::size_t linear);
}  // namespace detail

/// The elements of a tensor in this process's memory. T is const for read-only access.
/// Valid as long as the Tensor (or the Task) that it came from.
template <class T>
class View {
 public:
  /// No elements, rank 0.
  View() = default;
  /// The library's own: Tensor::data() and TaskArgs::tensor() make them.
  explicit View(const detail::ViewLayout& layout) : layout_(layout) {}

  /// Elements in all.
  std::size_t size() const { return layout_.size; }
  /// Dimensions; a view of rank 0 has one element.
  std::size_t rank() const { return layout_.rank; }
  /// Elements along dimension `dim`, which must be below rank(): it is not checked.
  std::int64_t extent(std::size_t dim) const { return layout_.extent[dim]; }
  /// Elements from one index of dimension `dim` to the next; not checked, like extent().
  std::int64_t stride(std::size_t dim) const { return layout_.stride[dim]; }
  /// True where the elements lie row-major without gaps.
  bool contiguous() const { return layout_.contiguous; }

  /// First element; with contiguous() all size() of them follow.
  T* data() const { return static_cast<T*>(layout_.data); }
  /// Element by its row-major number, in strided views, too.
  T& operator[](std::size_t i) const {
    return layout_.contiguous ? data()[i] : data()[detail::element_offset(layout_, i)];
  }
  /// Element by its indices, one a dimension.
  template <class... Index>
  requires(sizeof...(Index) > 0 && (std::is_integral_v<Index> && ...)) T& operator()(
      Index... index) const {
    std::ptrdiff_t offset = 0;
    std::size_t dim = 0;
    ((offset += static_cast<std::ptrdiff_t>(index) * layout_.stride[dim++]), ...);
    return data()[offset];
  }
  /// REQUIRES: contiguous()
  std::span<T> span() const { return {data(), size()}; }
  /// For range-based loops. REQUIRES: contiguous()
  T* begin() const { return data(); }
  /// Behind the last element. REQUIRES: contiguous()
  T* end() const { return data() + size(); }

 private:
  detail::ViewLayout layout_;
};

/// A tensor by handle: dtype, shape, strides, and a share in the memory behind it. Copying copies
/// the handle. The memory is given back when the last handle is gone and the last task that uses it
/// has ended. Row-major when made; slices share their parent's memory.
///
/// A Tensor given to a callable is a loan: valid until that task ends.
///
/// Threads: a handle may be copied and used from several threads. The elements are the program's to
/// guard: tags order tasks, not the threads of the program.
/// Fork: inherited copies are inert in the child.
class ECHELON_API Tensor {
 public:
  /// Empty: what is asked of it throws InvalidArgument, but for valid() and describe().
  Tensor() = default;
  /// False for an empty one; a stale one is still valid() (data() tells).
  bool valid() const { return state_ != nullptr; }

  /// Type of the elements.
  DType dtype() const;
  /// Dimensions, 0..8.
  std::size_t rank() const;
  /// Elements along dimension `dim`. Throws InvalidArgument where there is no such dimension.
  std::int64_t extent(std::size_t dim) const;
  /// All extents, outermost first.
  Shape shape() const;
  std::size_t size() const;   // elements
  std::size_t bytes() const;  // of the elements
  bool writable() const;      // false: lent for reading

  /// The elements, here. Throws InvalidArgument for another dtype than the tensor's, for writing a
  /// tensor lent read-only, for a chip's tensor (copy it first), StaleHandle after free().
  /// With a rank, `data<float, 2>()`, a tensor of another rank is refused, too.
  template <class T, int kRank = -1>
  View<T> data() const {
    return View<T>(layout({dtype_of<T>(), !std::is_const_v<T>, kRank}));
  }

  /// Elements [begin, end) of dimension `dim`; no copy. Disjoint slices never wait for each other.
  Tensor slice(std::size_t dim, std::int64_t begin, std::int64_t end) const;
  /// The same elements in another shape; throws where it is not contiguous or the sizes differ.
  Tensor reshape(Shape shape) const;

  /// Gives the memory back now; every copy of this handle is stale from here on. Tasks that were
  /// submitted with it keep it until they end. Throws InvalidArgument for a loan: only the owner's
  /// handles can be freed.
  void free();

  /// "float32[64, 10] of pod0, host memory".
  std::string describe() const;

 private:
  friend struct detail::TensorAccess;
  explicit Tensor(std::shared_ptr<const detail::TensorState> state) : state_(std::move(state)) {}
  detail::ViewLayout layout(const detail::ViewRequest& request) const;

  std::shared_ptr<const detail::TensorState> state_;
};

}  // namespace echelon
