// SPDX-License-Identifier: Apache-2.0
#include <echelon/tensor.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/tensor_state.h"
#include "api/throw_status.h"

namespace echelon {

using detail::TensorAccess;
using detail::TensorState;
using detail::throw_bad_argument;

namespace detail {

std::uint64_t checked_bytes(const Shape& shape, DType dtype) {
  if (size_of(dtype) == 0) throw_bad_argument("a tensor needs a dtype; none was given");
  if (shape.size() > kTensorRankMax) {
    throw_bad_argument(fmt::format("a tensor of rank {}; at most {} dimensions are possible",
                                   shape.size(), kTensorRankMax));
  }
  std::uint64_t bytes = size_of(dtype);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) {
      throw_bad_argument(
          fmt::format("{} has a negative extent", shape_text(dtype, std::span(shape))));
    }
    if (extent == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes) ||
             bytes > (std::uint64_t{1} << 48)) {
      throw_bad_argument(
          fmt::format("{} is larger than 2^48 bytes", shape_text(dtype, std::span(shape))));
    }
  }
  return empty ? 0 : bytes;
}

std::string shape_text(DType dtype, std::span<const std::int64_t> extents) {
  return fmt::format("{}[{}]", to_string(dtype), fmt::join(extents, ", "));
}

void check_view(const TensorDesc& desc, const ViewRequest& request) {
  const auto shape = [&desc] {
    return shape_text(desc.dtype, std::span(desc.extent.data(), desc.rank));
  };
  if (request.dtype != desc.dtype) {
    throw_new(Code::kInvalidArgument, Reason::kWrongType,
              fmt::format("the tensor is {}, and was asked for as {}", shape(),
                          to_string(request.dtype)));
  }
  if (request.rank >= 0 && request.rank != desc.rank) {
    throw_new(Code::kInvalidArgument, Reason::kWrongType,
              fmt::format("the tensor {} has rank {}, and was asked for with rank {}", shape(),
                          desc.rank, request.rank));
  }
  if (request.writable && !allows(desc.access, Access::kWrite)) {
    throw_new(Code::kPermissionDenied, Reason::kWrongAccess,
              fmt::format("the tensor {} may only be read here: ask for it as const {}, or tag it "
                          "output or inout",
                          shape(), to_string(request.dtype)));
  }
}

ViewLayout make_layout(const TensorDesc& desc, std::byte* first) {
  ViewLayout layout;
  layout.data = first;
  layout.size = desc.element_count();
  layout.rank = desc.rank;
  layout.contiguous = desc.contiguous();
  const auto element = static_cast<std::int64_t>(size_of(desc.dtype));
  for (std::size_t dim = 0; dim < desc.rank; ++dim) {
    layout.extent[dim] = desc.extent[dim];
    layout.stride[dim] = desc.stride[dim] / element;
  }
  return layout;
}

std::ptrdiff_t element_offset(const ViewLayout& layout, std::size_t linear) {
  std::ptrdiff_t offset = 0;
  auto rest = static_cast<std::int64_t>(linear);
  for (std::size_t dim = layout.rank; dim-- > 0;) {
    offset += rest % layout.extent[dim] * layout.stride[dim];
    rest /= layout.extent[dim];
  }
  return offset;
}

}  // namespace detail

namespace {

const TensorState& state_of(const Tensor& tensor) {
  const TensorState* state = TensorAccess::state(tensor);
  if (state == nullptr)
    throw_bad_argument("this Tensor is empty: it was default-constructed or moved from");
  return *state;
}

}  // namespace

DType Tensor::dtype() const {
  return state_of(*this).desc.dtype;
}
std::size_t Tensor::rank() const {
  return state_of(*this).desc.rank;
}

std::int64_t Tensor::extent(std::size_t dim) const {
  const TensorDesc& desc = state_of(*this).desc;
  if (dim >= desc.rank) {
    throw_bad_argument(fmt::format("dimension {} of a tensor of rank {}", dim, desc.rank));
  }
  return desc.extent[dim];
}

Shape Tensor::shape() const {
  const TensorDesc& desc = state_of(*this).desc;
  return Shape(desc.extent.begin(), desc.extent.begin() + desc.rank);
}

std::size_t Tensor::size() const {
  return state_of(*this).desc.element_count();
}
std::size_t Tensor::bytes() const {
  return state_of(*this).desc.payload_bytes();
}
bool Tensor::writable() const {
  return allows(state_of(*this).desc.access, Access::kWrite);
}

Tensor Tensor::slice(std::size_t dim, std::int64_t begin, std::int64_t end) const {
  const TensorState& state = state_of(*this);
  const std::int64_t extent = this->extent(dim);
  if (begin < 0 || begin > end || end > extent) {
    throw_bad_argument(fmt::format("slice [{}, {}) of dimension {} of {}: 0 <= begin <= end <= {}",
                                   begin, end, dim, describe(), extent));
  }
  TensorDesc desc = state.desc;
  desc.extent[dim] = end - begin;
  if (desc.element_count() != 0)
    desc.offset += static_cast<std::uint64_t>(begin * desc.stride[dim]);
  return TensorAccess::make(desc, state.buffer);
}

Tensor Tensor::reshape(Shape shape) const {
  const TensorState& state = state_of(*this);
  const std::uint64_t bytes = detail::checked_bytes(shape, state.desc.dtype);
  if (!state.desc.contiguous() || bytes != state.desc.payload_bytes()) {
    throw_bad_argument(
        fmt::format("{} cannot be seen as {}: it must be contiguous and of the same size",
                    describe(), detail::shape_text(state.desc.dtype, std::span(shape))));
  }
  TensorDesc desc = make_contiguous(state.desc.issuer, state.desc.buffer, state.desc.home,
                                    state.desc.dtype, shape, state.desc.access);
  desc.offset = state.desc.offset;
  return TensorAccess::make(desc, state.buffer);
}

void Tensor::free() {
  const TensorState& state = state_of(*this);
  if (state.buffer->lent()) {
    detail::throw_new(Code::kPermissionDenied, Reason::kWrongAccess,
                      fmt::format("free: {}; only its owner frees a tensor", describe()));
  }
  if (!state.buffer->in_forked_copy()) state.buffer->free();
}

std::string Tensor::describe() const {
  if (!valid()) return "empty tensor";
  const TensorState& state = *state_;
  return fmt::format(
      "{} of {}",
      detail::shape_text(state.desc.dtype, std::span(state.desc.extent.data(), state.desc.rank)),
      state.buffer->describe());
}

detail::ViewLayout Tensor::layout(const detail::ViewRequest& request) const {
  const TensorState& state = state_of(*this);
  detail::throw_if_error(state.buffer->check_usable());
  const Access want = request.writable ? Access::kWrite : Access::kRead;
  detail::check_view(state.desc, request);
  if (request.writable) state.buffer->note_writable_view();
  return detail::make_layout(state.desc,
                             detail::value_or_throw(state.buffer->address(state.desc, want)));
}

}  // namespace echelon
