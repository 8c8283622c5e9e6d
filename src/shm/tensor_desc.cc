// SPDX-License-Identifier: Apache-2.0
#include "shm/tensor_desc.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "base/codec.h"

namespace echelon {
namespace {

constexpr std::uint64_t kSaturated = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kWireSizeMax = std::numeric_limits<std::int64_t>::max();

std::uint64_t multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? kSaturated : result;
}

std::uint64_t add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t result = 0;
  return __builtin_add_overflow(a, b, &result) ? kSaturated : result;
}

// --- boxes
// ----------------------------------------------------------------------------------------
//
// Two views are read in one mixed-radix system whose places are all strides of both and the byte:
// offset = sum of digit[i] * place[i]. Where each place divides the one above and no digit of a
// view runs past its place, the view's bytes are exactly a product of one interval for each place,
// and the two sets are compared place by place.

constexpr std::size_t kPlacesMax = 2 * kTensorRankMax + 1;

struct Places {
  std::array<std::uint64_t, kPlacesMax> bytes{};  // descending; the last is 1
  std::size_t count = 0;
};

struct Box {
  std::array<std::uint64_t, kPlacesMax> first{};
  std::array<std::uint64_t, kPlacesMax> extent{};
};

void add_strides(const TensorDesc& desc, Places& places) {
  for (std::size_t d = 0; d < desc.rank; ++d) {
    if (desc.extent[d] > 1 && desc.stride[d] > 0) {
      places.bytes[places.count++] = static_cast<std::uint64_t>(desc.stride[d]);
    }
  }
}

/// False where the strides are not those of one layout.
bool make_places(const TensorDesc& a, const TensorDesc& b, Places& places) {
  add_strides(a, places);
  add_strides(b, places);
  places.bytes[places.count++] = 1;
  const auto begin = places.bytes.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(places.count);
  std::sort(begin, end, std::greater<>());
  places.count = static_cast<std::size_t>(std::unique(begin, end) - begin);
  for (std::size_t i = 0; i + 1 < places.count; ++i) {
    if (places.bytes[i] % places.bytes[i + 1] != 0) return false;
  }
  return true;
}

/// False where a digit runs past its place.
bool make_box(const TensorDesc& desc, std::uint64_t offset, const Places& places, Box& box) {
  for (std::size_t i = 0; i < places.count; ++i) {
    box.first[i] = offset / places.bytes[i];
    offset %= places.bytes[i];
    box.extent[i] = 1;
  }
  // i * s for i < m, plus j * s for j < n, is k * s for k < m + n - 1
  box.extent[places.count - 1] = size_of(desc.dtype);
  for (std::size_t d = 0; d < desc.rank; ++d) {
    if (desc.extent[d] <= 1 || desc.stride[d] == 0) continue;
    const auto stride = static_cast<std::uint64_t>(desc.stride[d]);
    const auto at =
        std::find(places.bytes.begin(), places.bytes.end(), stride) - places.bytes.begin();
    box.extent[static_cast<std::size_t>(at)] += static_cast<std::uint64_t>(desc.extent[d]) - 1;
  }
  for (std::size_t i = places.count - 1; i > 0; --i) {
    const std::uint64_t ratio = places.bytes[i - 1] / places.bytes[i];
    if (box.first[i] + box.extent[i] <= ratio) continue;
    // whole rows carry into the place above
    if (box.first[i] != 0 || box.extent[i] % ratio != 0) return false;
    box.extent[i - 1] += box.extent[i] / ratio - 1;
    box.extent[i] = ratio;
  }
  return true;
}

struct Boxes {
  Places places;
  Box a, b;
};

/// Both as boxes, counted from `origin` (as the layout may begin anywhere in its buffer).
bool make_boxes_from(std::uint64_t origin, const TensorDesc& a, const TensorDesc& b, Boxes& boxes) {
  const std::uint64_t low = std::min(a.offset, b.offset);
  const std::uint64_t top = boxes.places.bytes[0];
  const std::uint64_t shift =
      origin > low ? ((origin - low) / top + ((origin - low) % top != 0 ? 1 : 0)) * top : 0;
  return make_box(a, a.offset - origin + shift, boxes.places, boxes.a) &&
         make_box(b, b.offset - origin + shift, boxes.places, boxes.b);
}

/// False: undecidable. REQUIRES: neither is empty, and sizes do not overflow.
bool make_boxes(const TensorDesc& a, const TensorDesc& b, Boxes& boxes) {
  if (!make_places(a, b, boxes.places)) return false;
  return make_boxes_from(0, a, b, boxes) || make_boxes_from(a.offset, a, b, boxes) ||
         make_boxes_from(b.offset, a, b, boxes);
}

/// Sizes that no valid buffer has: nothing is decided about them.
bool absurd(const TensorDesc& desc) {
  return add(desc.offset, desc.span_bytes()) > kWireSizeMax ||
         std::any_of(desc.extent.begin(), desc.extent.end(), [](auto v) { return v < 0; }) ||
         std::any_of(desc.stride.begin(), desc.stride.end(), [](auto v) { return v < 0; });
}

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame, "a tensor is not valid: " + what);
}

Status check_decoded(const TensorDesc& desc, Tag tag, std::uint32_t zero) {
  const auto dtype = static_cast<std::uint8_t>(desc.dtype);
  const auto access = static_cast<std::uint8_t>(desc.access);
  const auto how = static_cast<std::uint8_t>(tag);
  if (dtype == 0 || dtype > kDTypeLast) return bad(fmt::format("dtype {}", dtype));
  if (access == 0 || access > static_cast<std::uint8_t>(Access::kReadWrite)) {
    return bad(fmt::format("access {}", access));
  }
  if (how == 0 || how > static_cast<std::uint8_t>(Tag::kNoDep)) {
    return bad(fmt::format("tag {}", how));
  }
  if (zero != 0) return bad("reserved bytes are not zero");
  for (std::size_t d = 0; d < desc.rank; ++d) {
    if (desc.extent[d] < 0 || desc.stride[d] < 0) {
      return bad(fmt::format("extent {} with stride {}", desc.extent[d], desc.stride[d]));
    }
  }
  if (multiply(desc.element_count(), size_of(desc.dtype)) > kWireSizeMax ||
      add(desc.offset, desc.span_bytes()) > kWireSizeMax) {
    return bad("its size overflows");
  }
  return {};
}

}  // namespace

std::uint64_t TensorDesc::element_count() const {
  std::uint64_t count = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    if (extent[d] == 0) return 0;
    count = multiply(count, static_cast<std::uint64_t>(extent[d]));
  }
  return count;
}

std::uint64_t TensorDesc::span_bytes() const {
  std::uint64_t bytes = size_of(dtype);
  for (std::size_t d = 0; d < rank; ++d) {
    if (extent[d] == 0) return 0;
    bytes = add(bytes, multiply(static_cast<std::uint64_t>(extent[d]) - 1,
                                static_cast<std::uint64_t>(stride[d])));
  }
  return bytes;
}

bool TensorDesc::contiguous() const {
  std::uint64_t expected = size_of(dtype);
  for (std::size_t d = rank; d-- > 0;) {
    if (extent[d] == 0) return true;
    if (extent[d] == 1) continue;
    if (static_cast<std::uint64_t>(stride[d]) != expected) return false;
    expected = multiply(expected, static_cast<std::uint64_t>(extent[d]));
  }
  return true;
}

TensorDesc make_contiguous(Uid issuer, BufferId buffer, Uid home, DType dtype,
                           std::span<const std::int64_t> shape, Access access) {
  ECHELON_CHECK(shape.size() <= kTensorRankMax, shape.size());
  TensorDesc desc;
  desc.issuer = issuer;
  desc.buffer = buffer;
  desc.home = home;
  desc.dtype = dtype;
  desc.access = access;
  desc.rank = static_cast<std::uint8_t>(shape.size());
  std::uint64_t stride = size_of(dtype);
  for (std::size_t d = shape.size(); d-- > 0;) {
    desc.extent[d] = shape[d];
    desc.stride[d] = static_cast<std::int64_t>(std::min(stride, kWireSizeMax));
    stride = multiply(stride, static_cast<std::uint64_t>(std::max<std::int64_t>(shape[d], 1)));
  }
  return desc;
}

bool may_overlap(const TensorDesc& a, const TensorDesc& b) {
  const std::uint64_t a_bytes = a.span_bytes();
  const std::uint64_t b_bytes = b.span_bytes();
  if (a_bytes == 0 || b_bytes == 0) return false;
  if (absurd(a) || absurd(b)) return true;
  if (a.offset + a_bytes <= b.offset || b.offset + b_bytes <= a.offset) return false;
  if (a.contiguous() && b.contiguous()) return true;
  Boxes boxes;
  if (!make_boxes(a, b, boxes)) return true;
  for (std::size_t i = 0; i < boxes.places.count; ++i) {
    if (boxes.a.first[i] + boxes.a.extent[i] <= boxes.b.first[i] ||
        boxes.b.first[i] + boxes.b.extent[i] <= boxes.a.first[i]) {
      return false;
    }
  }
  return true;
}

bool covers(const TensorDesc& outer, const TensorDesc& inner) {
  const std::uint64_t outer_bytes = outer.span_bytes();
  const std::uint64_t inner_bytes = inner.span_bytes();
  if (inner_bytes == 0) return true;
  if (outer_bytes == 0 || absurd(outer) || absurd(inner)) return false;
  if (inner.offset < outer.offset || inner.offset + inner_bytes > outer.offset + outer_bytes) {
    return false;
  }
  if (outer.contiguous()) return true;
  Boxes boxes;
  if (!make_boxes(outer, inner, boxes)) return false;
  for (std::size_t i = 0; i < boxes.places.count; ++i) {
    if (boxes.b.first[i] < boxes.a.first[i] ||
        boxes.b.first[i] + boxes.b.extent[i] > boxes.a.first[i] + boxes.a.extent[i]) {
      return false;
    }
  }
  return true;
}

std::size_t encode(const TensorDesc& desc, Tag tag, std::span<std::byte> out) {
  ByteWriter writer(out);
  writer.put(desc.issuer.value);
  writer.put(desc.buffer.value);
  writer.put(desc.home.value);
  writer.put(desc.offset);
  writer.put(desc.dtype);
  writer.put(desc.access);
  writer.put(desc.rank);
  writer.put(tag);
  writer.put(std::uint32_t{0});
  for (std::size_t d = 0; d < desc.rank; ++d) {
    writer.put(desc.extent[d]);
    writer.put(desc.stride[d]);
  }
  ECHELON_CHECK(writer.ok(), out.size(), desc.wire_bytes());
  return writer.size();
}

Status decode(std::span<const std::byte>& in, TensorDesc& desc, Tag& tag) {
  ByteReader reader(in);
  desc.issuer.value = reader.get<std::uint64_t>();
  desc.buffer.value = reader.get<std::uint64_t>();
  desc.home.value = reader.get<std::uint64_t>();
  desc.offset = reader.get<std::uint64_t>();
  desc.dtype = reader.get<DType>();
  desc.access = reader.get<Access>();
  desc.rank = reader.get<std::uint8_t>();
  tag = reader.get<Tag>();
  const auto zero = reader.get<std::uint32_t>();
  if (desc.rank > kTensorRankMax) {
    const unsigned rank = desc.rank;
    desc.rank = 0;
    return bad(fmt::format("rank {}, {} is the most", rank, kTensorRankMax));
  }
  for (std::size_t d = 0; d < desc.rank; ++d) {
    desc.extent[d] = reader.get<std::int64_t>();
    desc.stride[d] = reader.get<std::int64_t>();
  }
  std::fill(desc.extent.begin() + desc.rank, desc.extent.end(), 0);
  std::fill(desc.stride.begin() + desc.rank, desc.stride.end(), 0);
  if (!reader.ok()) return bad("it is cut short");
  ECHELON_RETURN_IF_ERROR(check_decoded(desc, tag, zero));
  in = reader.rest();
  return {};
}

}  // namespace echelon
