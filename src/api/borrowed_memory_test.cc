// SPDX-License-Identifier: Apache-2.0
#include "api/borrowed_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace echelon::detail {
namespace {

class BorrowedMemoryTest : public testing::Test {
 protected:
  static const TensorDesc& desc_of(const Tensor& tensor) {
    return TensorAccess::state(tensor)->desc;
  }

  const std::shared_ptr<BorrowedMemory> memory = std::make_shared<BorrowedMemory>(Uid{7});
  std::vector<std::byte> bytes = std::vector<std::byte>(64);
};

TEST_F(BorrowedMemoryTest, IsReadWhereItLies) {
  const Tensor tensor = memory->lend(bytes, Access::kRead, nullptr);
  const auto at = memory->open(desc_of(tensor), Access::kRead);
  ASSERT_TRUE(at.ok()) << at.status().info().message;
  EXPECT_EQ(*at, bytes.data());
  EXPECT_EQ(tensor.bytes(), bytes.size());
}

TEST_F(BorrowedMemoryTest, WhatWasLentForReadingIsNotWritten) {
  const Tensor tensor = memory->lend(bytes, Access::kRead, nullptr);
  EXPECT_EQ(memory->open(desc_of(tensor), Access::kWrite).status().reason(), Reason::kWrongAccess);
}

TEST_F(BorrowedMemoryTest, BeyondItsEndIsRefused) {
  const Tensor tensor = memory->lend(bytes, Access::kRead, nullptr);
  TensorDesc beyond = desc_of(tensor);
  beyond.offset = 1;
  EXPECT_EQ(memory->open(beyond, Access::kRead).status().reason(), Reason::kBadArgument);
}

TEST_F(BorrowedMemoryTest, IsStaleOnceNobodyHoldsIt) {
  TensorDesc desc;
  {
    const Tensor tensor = memory->lend(bytes, Access::kReadWrite, nullptr);
    desc = desc_of(tensor);
  }
  EXPECT_EQ(memory->open(desc, Access::kRead).status().reason(), Reason::kStaleHandle);
}

TEST_F(BorrowedMemoryTest, KeepsItsOwnerUntilTheLastTaskHasEnded) {
  auto owner = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = owner;
  Buffer* buffer = nullptr;
  {
    const Tensor tensor = memory->lend(bytes, Access::kRead, std::move(owner));
    buffer = TensorAccess::state(tensor)->buffer.get();
    ASSERT_TRUE(buffer->try_pin());
  }
  EXPECT_FALSE(watched.expired());
  buffer->unpin();
  EXPECT_TRUE(watched.expired());
}

TEST_F(BorrowedMemoryTest, TwoLoansOfOneMemoryAreTwoTensors) {
  const Tensor one = memory->lend(bytes, Access::kRead, nullptr);
  const Tensor other = memory->lend(bytes, Access::kRead, nullptr);
  EXPECT_NE(desc_of(one).buffer, desc_of(other).buffer);
}

}  // namespace
}  // namespace echelon::detail
