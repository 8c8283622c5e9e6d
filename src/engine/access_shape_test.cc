// SPDX-License-Identifier: Apache-2.0
#include "engine/access_shape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "engine/engine_rig.h"

namespace echelon {
namespace {

std::set<std::uint64_t> bytes_in(const TensorDesc& desc, unsigned dimension, std::uint64_t base) {
  std::set<std::uint64_t> bytes;
  if (dimension == desc.rank) {
    for (std::uint64_t i = 0; i < size_of(desc.dtype); ++i) bytes.insert(base + i);
    return bytes;
  }
  for (std::int64_t i = 0; i < desc.extent[dimension]; ++i)
    bytes.merge(bytes_in(desc, dimension + 1,
                         base + static_cast<std::uint64_t>(i * desc.stride[dimension])));
  return bytes;
}

bool share(const std::set<std::uint64_t>& a, const std::set<std::uint64_t>& b) {
  for (const std::uint64_t byte : a)
    if (b.contains(byte)) return true;
  return false;
}

TEST(AccessShape, AContiguousTensorIsARange) {
  const AccessShape shape = shape_of(bytes_of(1, 10, 30));
  EXPECT_EQ(shape.begin, 10u);
  EXPECT_EQ(shape.end, 30u);
  EXPECT_EQ(shape.view, nullptr);
}

TEST(AccessShape, AStridedTensorKeepsItsGeometry) {
  const TensorDesc desc = columns_of(1, 4, 16, 2, 5);
  const AccessShape shape = shape_of(desc);
  EXPECT_EQ(shape.begin, 2u);
  EXPECT_EQ(shape.end, 3 * 16 + 5u);
  EXPECT_EQ(shape.view, &desc);
}

TEST(AccessShape, ARowOfOneAndAnExtentOfOneHaveNoGaps) {
  TensorDesc desc = columns_of(1, 1, 16, 2, 5);
  EXPECT_EQ(shape_of(desc).view, nullptr);
}

TEST(AccessShape, AnEmptyTensorTouchesNothing) {
  EXPECT_TRUE(shape_of(columns_of(1, 0, 16, 2, 5)).empty());
}

/// A view of rank up to 3 whose strides descend, as a slice of a row-major array has.
TensorDesc random_view(std::mt19937& random) {
  TensorDesc desc = bytes_of(1, 0, 1);
  desc.dtype = random() % 2 == 0 ? DType::kUInt8 : DType::kInt16;
  desc.rank = static_cast<std::uint8_t>(random() % 4);
  desc.offset = random() % 20;
  auto stride = static_cast<std::int64_t>(size_of(desc.dtype) * (1 + random() % 2));
  for (unsigned d = desc.rank; d-- > 0;) {
    desc.extent[d] = 1 + random() % 4;
    desc.stride[d] = stride;
    stride = stride * desc.extent[d] + static_cast<std::int64_t>(random() % 5);
  }
  return desc;
}

TEST(AccessShape, AgreesWithTheBytesOfRangesAndViews) {
  for (unsigned seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random(seed);
    const TensorDesc view = random_view(random);
    const auto begin = static_cast<std::int64_t>(random() % 100);
    const TensorDesc range =
        bytes_of(1, begin, begin + 1 + static_cast<std::int64_t>(random() % 30));
    const auto in_view = bytes_in(view, 0, view.offset);
    const auto in_range = bytes_in(range, 0, range.offset);
    EXPECT_EQ(shapes_overlap(shape_of(view), shape_of(range)), share(in_view, in_range))
        << "seed " << seed;
    EXPECT_EQ(shapes_overlap(shape_of(range), shape_of(view)), share(in_view, in_range))
        << "seed " << seed;
    const bool covered =
        std::includes(in_range.begin(), in_range.end(), in_view.begin(), in_view.end());
    EXPECT_EQ(shape_covers(shape_of(range), shape_of(view)), covered) << "seed " << seed;
  }
}

TEST(AccessShape, NeverDeniesASharedByteOfTwoViews) {
  for (unsigned seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random(seed);
    const TensorDesc a = random_view(random);
    const TensorDesc b = random_view(random);
    const auto in_a = bytes_in(a, 0, a.offset);
    const auto in_b = bytes_in(b, 0, b.offset);
    if (share(in_a, in_b)) {
      EXPECT_TRUE(shapes_overlap(shape_of(a), shape_of(b))) << "seed " << seed;
    }
    if (shape_covers(shape_of(a), shape_of(b))) {
      EXPECT_TRUE(std::includes(in_a.begin(), in_a.end(), in_b.begin(), in_b.end()))
          << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace echelon
