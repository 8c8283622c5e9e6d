// SPDX-License-Identifier: Apache-2.0
#include "shm/tensor_desc.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace echelon {
namespace {

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

TensorDesc dense(std::initializer_list<std::int64_t> shape, DType dtype = DType::kFloat32) {
  const std::vector<std::int64_t> extents(shape);
  return make_contiguous(Uid{1}, BufferId::make(0, 1), Uid{1}, dtype, extents, Access::kReadWrite);
}

/// desc[..., from:to:step, ...] in one dimension.
TensorDesc slice(TensorDesc desc, std::size_t dimension, std::int64_t from, std::int64_t to,
                 std::int64_t step = 1) {
  desc.offset += static_cast<std::uint64_t>(from * desc.stride[dimension]);
  desc.extent[dimension] = to > from ? (to - from + step - 1) / step : 0;
  desc.stride[dimension] *= step;
  return desc;
}

// --- sizes
// ------------------------------------------------------------------------------------------

TEST(TensorDesc, SizesOfADenseTensor) {
  const TensorDesc desc = dense({2, 3, 4});
  EXPECT_EQ(desc.element_count(), 24u);
  EXPECT_EQ(desc.payload_bytes(), 96u);
  EXPECT_EQ(desc.span_bytes(), 96u);
  EXPECT_TRUE(desc.contiguous());
  EXPECT_EQ(desc.stride[0], 48);
}

TEST(TensorDesc, RankZeroIsOneElement) {
  const TensorDesc desc = dense({});
  EXPECT_EQ(desc.element_count(), 1u);
  EXPECT_EQ(desc.span_bytes(), 4u);
  EXPECT_TRUE(desc.contiguous());
}

TEST(TensorDesc, AnEmptyTensorSpansNothing) {
  const TensorDesc desc = dense({3, 0, 2});
  EXPECT_EQ(desc.element_count(), 0u);
  EXPECT_EQ(desc.span_bytes(), 0u);
}

TEST(TensorDesc, ASliceSpansItsGaps) {
  const TensorDesc desc = slice(dense({4, 8}), 1, 2, 4);
  EXPECT_EQ(desc.payload_bytes(), 32u);
  EXPECT_EQ(desc.span_bytes(), 3 * 32u + 8u);
  EXPECT_FALSE(desc.contiguous());
  EXPECT_TRUE(slice(dense({4, 8}), 0, 1, 3).contiguous());
}

TEST(TensorDesc, AbsurdSizesSaturate) {
  TensorDesc desc = dense({kHuge, kHuge});
  EXPECT_EQ(desc.element_count(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_TRUE(may_overlap(desc, dense({1})));
  EXPECT_FALSE(covers(desc, dense({1})));
}

// --- geometry, by hand
// ------------------------------------------------------------------------------

TEST(Geometry, ColumnsOfAMatrixAreIndependent) {
  const TensorDesc matrix = dense({16, 16});
  EXPECT_FALSE(may_overlap(slice(matrix, 1, 0, 4), slice(matrix, 1, 8, 12)));
  EXPECT_TRUE(may_overlap(slice(matrix, 1, 0, 9), slice(matrix, 1, 8, 12)));
}

TEST(Geometry, RowsAreIndependentByByteRange) {
  const TensorDesc matrix = dense({16, 16});
  EXPECT_FALSE(may_overlap(slice(matrix, 0, 0, 4), slice(matrix, 0, 4, 16)));
}

TEST(Geometry, EvenAndOddRowsAreIndependent) {
  const TensorDesc matrix = dense({16, 16});
  EXPECT_FALSE(may_overlap(slice(matrix, 0, 0, 16, 2), slice(matrix, 0, 1, 16, 2)));
  EXPECT_FALSE(may_overlap(slice(matrix, 1, 0, 16, 2), slice(matrix, 1, 1, 16, 2)));
}

TEST(Geometry, ColumnsAreIndependentWhereverTheMatrixBegins) {
  for (std::uint64_t offset = 0; offset < 200; offset += 4) {
    TensorDesc matrix = dense({8, 16});
    matrix.offset = offset;
    for (std::int64_t cut = 1; cut < 16; ++cut) {
      EXPECT_FALSE(may_overlap(slice(matrix, 1, 0, cut), slice(matrix, 1, cut, 16)))
          << offset << " " << cut;
    }
  }
}

TEST(Geometry, AFlatViewAndColumnsOverlapExactlyWhereTheyDo) {
  const TensorDesc matrix = dense({8, 16});
  TensorDesc flat = dense({32});  // rows 2 and 3
  flat.offset = 2 * 64;
  const TensorDesc column = slice(matrix, 1, 3, 5);
  EXPECT_TRUE(may_overlap(flat, column));
  EXPECT_FALSE(may_overlap(flat, slice(column, 0, 4, 8)));
  EXPECT_TRUE(covers(matrix, flat));
}

TEST(Geometry, ViewsOfAnotherElementTypeAreCompared) {
  const TensorDesc doubles = dense({4, 8}, DType::kFloat64);
  TensorDesc floats = dense({4, 16});
  EXPECT_FALSE(may_overlap(slice(doubles, 1, 0, 4), slice(floats, 1, 8, 16)));
  EXPECT_TRUE(may_overlap(slice(doubles, 1, 0, 4), slice(floats, 1, 7, 16)));
}

TEST(Geometry, WhatCannotBeDecidedOverlaps) {
  TensorDesc a = slice(dense({10, 10}), 1, 0, 2);
  TensorDesc b = a;
  a.stride[0] = 28;
  b.stride[0] = 40;
  b.offset = 12;
  EXPECT_TRUE(may_overlap(a, b));
  EXPECT_FALSE(covers(a, b));
}

TEST(Geometry, EmptyViewsOverlapNothingAndAreCovered) {
  const TensorDesc matrix = dense({4, 4});
  const TensorDesc none = slice(matrix, 0, 2, 2);
  EXPECT_FALSE(may_overlap(matrix, none));
  EXPECT_TRUE(covers(matrix, none));
  EXPECT_FALSE(covers(none, matrix));
}

TEST(Geometry, AWholeCoversItsParts) {
  const TensorDesc matrix = dense({8, 8});
  const TensorDesc columns = slice(matrix, 1, 2, 6);
  EXPECT_TRUE(covers(matrix, columns));
  EXPECT_TRUE(covers(columns, slice(columns, 0, 1, 3)));
  EXPECT_TRUE(covers(columns, columns));
  EXPECT_FALSE(covers(columns, matrix));
  EXPECT_FALSE(covers(columns, slice(matrix, 1, 2, 7)));
}

// --- geometry, against a set of bytes
// ---------------------------------------------------------------

using ByteSet = std::vector<bool>;

ByteSet bytes_of(const TensorDesc& desc) {
  ByteSet set(20'000, false);
  std::function<void(std::size_t, std::uint64_t)> walk = [&](std::size_t d, std::uint64_t at) {
    if (d == desc.rank) {
      for (std::size_t i = 0; i < size_of(desc.dtype); ++i) set.at(at + i) = true;
      return;
    }
    for (std::int64_t i = 0; i < desc.extent[d]; ++i) {
      walk(d + 1, at + static_cast<std::uint64_t>(i * desc.stride[d]));
    }
  };
  walk(0, desc.offset);
  return set;
}

bool overlap(const ByteSet& a, const ByteSet& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] && b[i]) return true;
  }
  return false;
}

bool includes(const ByteSet& outer, const ByteSet& inner) {
  for (std::size_t i = 0; i < outer.size(); ++i) {
    if (inner[i] && !outer[i]) return false;
  }
  return true;
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : bits_(seed) {}
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(bits_() % static_cast<std::uint64_t>(end));
  }

  TensorDesc layout() {
    std::vector<std::int64_t> shape;
    const std::int64_t rank = 1 + below(4);
    for (std::int64_t d = 0; d < rank; ++d) shape.push_back(1 + below(6));
    constexpr std::array kTypes = {DType::kUInt8, DType::kFloat16, DType::kFloat32};
    return make_contiguous(Uid{1}, BufferId::make(0, 1), Uid{1},
                           kTypes[static_cast<std::size_t>(below(3))], shape, Access::kRead);
  }

  TensorDesc slice_of(TensorDesc desc, std::int64_t step_max) {
    for (std::size_t d = 0; d < desc.rank; ++d) {
      const std::int64_t from = below(desc.extent[d]);
      const std::int64_t to = from + 1 + below(desc.extent[d] - from);
      desc = slice(desc, d, from, to, 1 + below(step_max));
    }
    return desc;
  }

 private:
  std::mt19937_64 bits_;
};

void expect_sound(const TensorDesc& a, const TensorDesc& b, int round) {
  const ByteSet a_bytes = bytes_of(a);
  const ByteSet b_bytes = bytes_of(b);
  ASSERT_TRUE(may_overlap(a, b) || !overlap(a_bytes, b_bytes)) << round;
  ASSERT_EQ(may_overlap(a, b), may_overlap(b, a)) << round;
  ASSERT_TRUE(!covers(a, b) || includes(a_bytes, b_bytes)) << round;
}

TEST(GeometryProperty, SlicesOfOneLayoutAreDecidedExactly) {
  Random random(1);
  for (int round = 0; round < 4'000; ++round) {
    const TensorDesc layout = random.layout();
    const TensorDesc a = random.slice_of(layout, 1);
    const TensorDesc b = random.slice_of(layout, 1);
    const ByteSet a_bytes = bytes_of(a);
    const ByteSet b_bytes = bytes_of(b);
    ASSERT_EQ(may_overlap(a, b), overlap(a_bytes, b_bytes)) << round;
    ASSERT_EQ(covers(a, b), includes(a_bytes, b_bytes)) << round;
  }
}

TEST(GeometryProperty, SlicesWithStepsAreSound) {
  Random random(2);
  for (int round = 0; round < 4'000; ++round) {
    TensorDesc layout = random.layout();
    layout.offset = static_cast<std::uint64_t>(random.below(100));
    expect_sound(random.slice_of(layout, 3), random.slice_of(layout, 3), round);
  }
}

TEST(GeometryProperty, ViewsOfDifferentLayoutsAreSound) {
  Random random(3);
  for (int round = 0; round < 4'000; ++round) {
    TensorDesc first = random.layout();
    TensorDesc second = random.layout();
    first.offset = static_cast<std::uint64_t>(random.below(64));
    second.offset = static_cast<std::uint64_t>(random.below(64));
    expect_sound(random.slice_of(first, 2), random.slice_of(second, 2), round);
  }
}

TEST(GeometryProperty, ArbitraryStridesAreSound) {
  Random random(4);
  for (int round = 0; round < 4'000; ++round) {
    std::array<TensorDesc, 2> views{random.layout(), random.layout()};
    for (TensorDesc& view : views) {
      view.offset = static_cast<std::uint64_t>(random.below(64));
      for (std::size_t d = 0; d < view.rank; ++d) view.stride[d] = random.below(40);
    }
    expect_sound(views[0], views[1], round);
  }
}

// --- wire
// -------------------------------------------------------------------------------------------

std::array<std::byte, kTensorWireBytesMax> encoded(const TensorDesc& desc) {
  std::array<std::byte, kTensorWireBytesMax> bytes{};
  EXPECT_EQ(encode(desc, Tag::kInput, bytes), desc.wire_bytes());
  return bytes;
}

TEST(TensorWire, IsFortyBytesAndSixteenADimension) {
  EXPECT_EQ(dense({}).wire_bytes(), 40u);
  EXPECT_EQ(dense({1, 2, 3}).wire_bytes(), 88u);
}

TEST(TensorWire, DecodingAdvancesBehindIt) {
  const auto bytes = encoded(dense({5, 6}));
  std::span<const std::byte> in(bytes);
  TensorDesc desc;
  Tag tag{};
  ASSERT_TRUE(decode(in, desc, tag).ok());
  EXPECT_EQ(in.size(), bytes.size() - 72);
  EXPECT_EQ(desc.extent[1], 6);
}

TEST(TensorWire, WhatCannotBeIsRefused) {
  const auto refused = [](TensorDesc desc, std::size_t at = 39, int value = 0) {
    auto bytes = encoded(desc);
    bytes[at] = std::byte(value);
    std::span<const std::byte> in(bytes);
    Tag tag{};
    return decode(in, desc, tag).reason() == Reason::kBadFrame;
  };
  const TensorDesc good = dense({5, 6});
  EXPECT_FALSE(refused(good));
  EXPECT_TRUE(refused(good, 32, 0)) << "dtype";
  EXPECT_TRUE(refused(good, 32, 14)) << "dtype";
  EXPECT_TRUE(refused(good, 33, 0)) << "access";
  EXPECT_TRUE(refused(good, 33, 4)) << "access";
  EXPECT_TRUE(refused(good, 34, 9)) << "rank";
  EXPECT_TRUE(refused(good, 35, 0)) << "tag";
  EXPECT_TRUE(refused(good, 35, 6)) << "tag";
  EXPECT_TRUE(refused(good, 36, 1)) << "zero";
  EXPECT_TRUE(refused(good, 47, 0x80)) << "a negative extent";
  EXPECT_TRUE(refused(good, 47, 0x7F)) << "an overflow";
  EXPECT_TRUE(refused(good, 31, 0xFF)) << "an offset";
}

}  // namespace
}  // namespace echelon
