// SPDX-License-Identifier: Apache-2.0
#include "remote/dense_range.h"

#include <gtest/gtest.h>

#include <vector>

#include "chip/strided.h"

namespace echelon {
namespace {

/// 5 x 4 x 3 of 2 bytes within rows and planes with gaps.
TensorDesc with_gaps() {
  TensorDesc desc;
  desc.dtype = DType::kInt16;
  desc.rank = 3;
  desc.extent = {5, 4, 3};
  desc.stride = {100, 20, 4};
  return desc;
}

std::vector<std::byte> counted(std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = std::byte(i * 7 + 1);
  return out;
}

TEST(DenseRangeTest, EveryPartIsThatPartOfTheWhole) {
  const TensorDesc desc = with_gaps();
  const auto memory = counted(desc.span_bytes());
  std::vector<std::byte> whole(desc.payload_bytes());
  gather(desc, memory.data(), whole.data());
  for (std::size_t begin = 0; begin <= whole.size(); ++begin) {
    for (std::size_t end = begin; end <= whole.size(); end += 5) {
      std::vector<std::byte> part(end - begin);
      gather_range(desc, memory.data(), begin, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + begin)) << begin;
    }
  }
}

TEST(DenseRangeTest, PartsScatteredInTurnAreTheWhole) {
  const TensorDesc desc = with_gaps();
  const auto dense = counted(desc.payload_bytes());
  std::vector<std::byte> expected(desc.span_bytes());
  scatter(desc, dense.data(), expected.data());
  for (const std::size_t step : {1u, 3u, 7u, 64u}) {
    std::vector<std::byte> memory(desc.span_bytes());
    for (std::size_t at = 0; at < dense.size(); at += step) {
      const std::size_t bytes = std::min(step, dense.size() - at);
      scatter_range(desc, at, std::span(dense).subspan(at, bytes), memory.data());
    }
    EXPECT_EQ(memory, expected) << step;
  }
}

TEST(DenseRangeTest, PartsOfOnePieceAreThatPiece) {
  const TensorDesc desc = with_gaps();
  const auto dense = counted(desc.payload_bytes());
  const std::span<const std::byte> piece = std::span(dense).subspan(5, 61);
  std::vector<std::byte> expected(desc.span_bytes());
  scatter_range(desc, 5, piece, expected.data());
  std::vector<std::byte> memory(desc.span_bytes());
  const std::vector<std::span<const std::byte>> more = {piece.subspan(7, 1), piece.subspan(8, 40),
                                                        piece.subspan(48)};
  scatter_parts(desc, 5, piece.first(7), more, memory.data());
  EXPECT_EQ(memory, expected);
}

TEST(DenseRangeTest, NothingOfAnEmptyTensorIsTouched) {
  TensorDesc desc = with_gaps();
  desc.extent[1] = 0;
  gather_range(desc, nullptr, 0, {});
  scatter_range(desc, 0, {}, nullptr);
}

}  // namespace
}  // namespace echelon
