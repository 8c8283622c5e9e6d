// SPDX-License-Identifier: Apache-2.0
#include "chip/strided.h"

#include <cstring>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace echelon {
namespace {

TensorDesc view(std::vector<std::int64_t> extent, std::vector<std::int64_t> stride) {
  TensorDesc desc;
  desc.dtype = DType::kInt32;
  desc.access = Access::kReadWrite;
  desc.rank = static_cast<std::uint8_t>(extent.size());
  for (std::size_t i = 0; i < extent.size(); ++i) {
    desc.extent[i] = extent[i];
    desc.stride[i] = stride[i];
  }
  return desc;
}

std::vector<std::int32_t> gathered(const TensorDesc& desc, const std::vector<std::int32_t>& from) {
  std::vector<std::int32_t> dense(desc.element_count(), -1);
  gather(desc, reinterpret_cast<const std::byte*>(from.data()),
         reinterpret_cast<std::byte*>(dense.data()));
  return dense;
}

std::vector<std::int32_t> numbers(std::size_t count) {
  std::vector<std::int32_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST(Strided, ContiguousViewsAreOneRun) {
  const RunShape shape = runs_of(view({2, 3, 4}, {48, 16, 4}));
  EXPECT_EQ(shape.rank, 0u);
  EXPECT_EQ(shape.run_bytes, 96u);
}

TEST(Strided, ExtentsOfOneDoNotMatter) {
  const RunShape shape = runs_of(view({1, 3, 1}, {999, 4, 777}));
  EXPECT_EQ(shape.rank, 0u);
  EXPECT_EQ(shape.run_bytes, 12u);
}

TEST(Strided, ColumnsOfAMatrixAreGatheredRowByRow) {
  const TensorDesc desc = view({3, 2}, {16, 4});
  EXPECT_EQ(runs_of(desc).run_bytes, 8u);
  EXPECT_EQ(gathered(desc, numbers(12)), (std::vector<std::int32_t>{0, 1, 4, 5, 8, 9}));
}

TEST(Strided, EveryDimensionMayHaveGaps) {
  EXPECT_EQ(gathered(view({2, 2, 2}, {48, 16, 8}), numbers(24)),
            (std::vector<std::int32_t>{0, 2, 4, 6, 12, 14, 16, 18}));
}

TEST(Strided, ATransposedViewIsGatheredInItsOwnOrder) {
  EXPECT_EQ(gathered(view({3, 2}, {4, 12}), numbers(6)),
            (std::vector<std::int32_t>{0, 3, 1, 4, 2, 5}));
}

TEST(Strided, AStrideOfZeroRepeats) {
  EXPECT_EQ(gathered(view({2, 2}, {0, 4}), numbers(2)), (std::vector<std::int32_t>{0, 1, 0, 1}));
}

TEST(Strided, NothingIsVisitedOfAnEmptyTensor) {
  int visits = 0;
  for_each_run(runs_of(view({2, 0, 3}, {12, 12, 4})), [&](auto, auto) { ++visits; });
  EXPECT_EQ(visits, 0);
}

TEST(Strided, RankZeroIsOneElement) {
  EXPECT_EQ(gathered(view({}, {}), numbers(2)), (std::vector<std::int32_t>{0}));
}

TEST(Strided, ScatterPutsBackWhatGatherTookAndNothingElse) {
  const TensorDesc desc = view({3, 2}, {16, 8});
  const auto from = numbers(12);
  const auto dense = gathered(desc, from);
  std::vector<std::int32_t> to(12, -1);
  scatter(desc, reinterpret_cast<const std::byte*>(dense.data()),
          reinterpret_cast<std::byte*>(to.data()));
  EXPECT_EQ(to, (std::vector<std::int32_t>{0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10, -1}));
}

}  // namespace
}  // namespace echelon
