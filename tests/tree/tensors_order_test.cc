// SPDX-License-Identifier: Apache-2.0
//
// Tasks are ordered by what their tags say of their tensors, and by nothing else (P3, section 5).
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <cstdint>
#include <vector>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using testing::Each;
using testing::HasSubstr;

/// Two sub-workers; one holds a task, the other would run what does not wait for it.
class Order : public testing::Test {
 protected:
  Order() {
    hold = host.register_sub("hold", [this](Task&) { words.wait_for(kGo); });
    note = host.register_sub("note", [this](Task&) { words[kBegan] = 1; });
    nothing = host.register_sub("nothing", [](Task&) {});
    meet = host.register_sub("meet",
                             [this](Task& task) { words.meet(task.scalar<std::uint32_t>(0), 2); });
    host.start();
    x = host.tensor<float>({16, 16});
    y = host.tensor<float>({16, 16});
  }

  /// Whether a task of `second` waits for one of `first`, submitted before it.
  bool waits(const Args& first, const Args& second) {
    words.clear();
    bool waited = false;
    host.run([&](Orchestrator& orch) {
      orch.submit(hold, first, {.worker = orch.sub_worker(0)});
      orch.submit(note, second, {.worker = orch.sub_worker(1)});
      // A child runs what it is given in order: behind this, the other has begun if it ever may.
      orch.submit(nothing, {}, {.worker = orch.sub_worker(1)}).wait();
      waited = words[kBegan] == 0;
      words[kGo] = 1;
    });
    EXPECT_EQ(words[kBegan], 1) << "it was not run at all";
    return waited;
  }
  /// Runs both at the same time: each waits for the other.
  void run_side_by_side(Args first, Args second) {
    words.clear();
    host.run([&](Orchestrator& orch) {
      orch.submit(meet, first.scalar(0u), {.worker = orch.sub_worker(0)});
      orch.submit(meet, second.scalar(1u), {.worker = orch.sub_worker(1)});
    });
  }
  Tensor rows(std::int64_t begin, std::int64_t end) const { return x.slice(0, begin, end); }
  Tensor columns(std::int64_t begin, std::int64_t end) const { return x.slice(1, begin, end); }

  static constexpr std::size_t kGo = 0, kBegan = 1;
  SharedWords words;
  Worker host{{.level = 3, .sub_workers = 2}};
  SubHandle hold, note, nothing, meet;
  Tensor x, y;
};

TEST_F(Order, AReaderWaitsForTheWriterBeforeIt) {
  EXPECT_TRUE(waits(Args().output(x), Args().input(x)));
  EXPECT_TRUE(waits(Args().inout(x), Args().input(x)));
}

TEST_F(Order, AWriterWaitsForTheReaderBeforeIt) {
  EXPECT_TRUE(waits(Args().input(x), Args().output(x)));
  EXPECT_TRUE(waits(Args().input(x), Args().inout(x)));
}

TEST_F(Order, AWriterWaitsForTheWriterBeforeIt) {
  EXPECT_TRUE(waits(Args().output(x), Args().output(x)));
  EXPECT_TRUE(waits(Args().inout(x), Args().inout(x)));
}

TEST_F(Order, ReadersDoNotWaitForEachOther) {
  EXPECT_FALSE(waits(Args().input(x), Args().input(x)));
}

TEST_F(Order, TasksOfDifferentTensorsDoNotWait) {
  EXPECT_FALSE(waits(Args().inout(x), Args().inout(y)));
}

TEST_F(Order, OneCommonTensorAmongSeveralIsEnough) {
  const Tensor z = host.tensor<float>({4});
  EXPECT_TRUE(waits(Args().input(y).output(z), Args().scalar(1).output(y).input(x)));
}

TEST_F(Order, AnExistingOutputIsOrderedAsAWrite) {
  EXPECT_TRUE(waits(Args().output_existing(x), Args().input(x)));
  EXPECT_TRUE(waits(Args().input(x), Args().output_existing(x)));
  EXPECT_TRUE(waits(Args().output_existing(x), Args().output_existing(x)));
}

TEST_F(Order, WithoutDependenceNobodyWaits) {
  EXPECT_FALSE(waits(Args().inout(x), Args().no_dep(x)));
  EXPECT_FALSE(waits(Args().no_dep(x), Args().inout(x)));
}

TEST_F(Order, DisjointRowsDoNotWait) {
  EXPECT_FALSE(waits(Args().inout(rows(0, 8)), Args().inout(rows(8, 16))));
}

TEST_F(Order, OverlappingRowsWait) {
  EXPECT_TRUE(waits(Args().inout(rows(0, 8)), Args().inout(rows(7, 16))));
}

TEST_F(Order, DisjointColumnsDoNotWaitThoughTheirBytesInterleave) {
  EXPECT_FALSE(waits(Args().inout(columns(0, 4)), Args().inout(columns(8, 12))));
  EXPECT_FALSE(waits(Args().inout(columns(0, 8)), Args().inout(columns(8, 16))));
}

TEST_F(Order, OverlappingColumnsWait) {
  EXPECT_TRUE(waits(Args().inout(columns(0, 9)), Args().inout(columns(8, 12))));
}

TEST_F(Order, ARowAndAColumnCross) {
  EXPECT_TRUE(waits(Args().inout(rows(3, 4)), Args().inout(columns(5, 6))));
}

TEST_F(Order, BlocksOfAMatrixWaitOnlyWhereTheyMeet) {
  const auto block = [&](std::int64_t row, std::int64_t column) {
    return x.slice(0, row, row + 4).slice(1, column, column + 4);
  };
  EXPECT_FALSE(waits(Args().inout(block(0, 0)), Args().inout(block(4, 0))));
  EXPECT_FALSE(waits(Args().inout(block(0, 0)), Args().inout(block(0, 4))));
  EXPECT_TRUE(waits(Args().inout(block(0, 0)), Args().inout(block(3, 3))));
}

TEST_F(Order, ASliceWaitsForTheWholeAndTheWholeForASlice) {
  EXPECT_TRUE(waits(Args().output(x), Args().input(columns(15, 16))));
  EXPECT_TRUE(waits(Args().input(columns(15, 16)), Args().output(x)));
}

TEST_F(Order, AnotherShapeOfTheSameBytesWaits) {
  EXPECT_TRUE(waits(Args().output(x.reshape({256})), Args().input(rows(15, 16))));
  EXPECT_FALSE(waits(Args().output(x.reshape({256}).slice(0, 0, 16)), Args().input(rows(1, 2))));
}

TEST_F(Order, AnEmptySliceWaitsForNobody) {
  EXPECT_FALSE(waits(Args().inout(x), Args().inout(rows(3, 3))));
}

TEST_F(Order, WritersOfDisjointRowsRunSideBySide) {
  run_side_by_side(Args().inout(rows(0, 8)), Args().inout(rows(8, 16)));
}

TEST_F(Order, WritersOfDisjointColumnsRunSideBySide) {
  run_side_by_side(Args().inout(columns(0, 4)), Args().inout(columns(8, 12)));
}

TEST_F(Order, ManyReadersOfOneWriterAllWaitAndTheNextWriterWaitsForAll) {
  words.clear();
  host.run([&](Orchestrator& orch) {
    orch.submit(hold, Args().output(x), {.worker = orch.sub_worker(0)});
    for (int i = 0; i < 10; ++i) orch.submit(nothing, Args().input(x));
    orch.submit(note, Args().output(x));
    orch.submit(nothing, {}, {.worker = orch.sub_worker(1)}).wait();
    EXPECT_EQ(words[kBegan], 0);
    words[kGo] = 1;
  });
  EXPECT_EQ(words[kBegan], 1);
}

/// x = 3 x + i, which does not commute.
class OrderOfValues : public testing::Test {
 protected:
  OrderOfValues() {
    step = host.register_sub("step", [](Task& task) {
      const auto values = task.tensor<std::uint32_t>(0);
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = 3 * values[i] + task.scalar<std::uint32_t>(0);
    });
  }
  Worker host{{.level = 3, .sub_workers = 3}};
  SubHandle step;
};

TEST_F(OrderOfValues, ALongChainOverSeveralChildrenIsAsIfRunInOrder) {
  const Tensor x = host.tensor<std::uint32_t>({64});
  std::uint32_t expected = 0;
  host.run([&](Orchestrator& orch) {
    for (std::uint32_t i = 0; i < 2000; ++i) {
      orch.submit(step, Args().inout(x).scalar(i));
      expected = 3 * expected + i;
    }
  });
  EXPECT_THAT(x.data<const std::uint32_t>().span(), Each(expected));
}

TEST_F(OrderOfValues, OverlappingSlicesOfManyShapesAreAsIfRunInOrder) {
  constexpr std::int64_t kSide = 24;
  const Tensor x = host.tensor<std::uint32_t>({kSide, kSide});
  std::vector<std::uint32_t> expected(kSide * kSide);
  std::uint32_t random = 12345;
  auto below = [&random](std::int64_t limit) {
    random = random * 1664525u + 1013904223u;
    return static_cast<std::int64_t>(random >> 8) % limit;
  };
  host.run([&](Orchestrator& orch) {
    for (std::uint32_t i = 0; i < 2000; ++i) {
      const std::int64_t top = below(kSide), left = below(kSide);
      const std::int64_t bottom = top + 1 + below(kSide - top);
      const std::int64_t right = left + 1 + below(kSide - left);
      orch.submit(step, Args().inout(x.slice(0, top, bottom).slice(1, left, right)).scalar(i));
      for (std::int64_t row = top; row < bottom; ++row) {
        for (std::int64_t column = left; column < right; ++column) {
          auto& value = expected[static_cast<std::size_t>(row * kSide + column)];
          value = 3 * value + i;
        }
      }
    }
  });
  EXPECT_THAT(x.data<const std::uint32_t>().span(), testing::ElementsAreArray(expected));
}

TEST_F(OrderOfValues, OneTensorTwiceInATaskIsNoCircle) {
  const Tensor x = host.tensor<std::uint32_t>({8});
  host.run([&](Orchestrator& orch) {
    orch.submit(step, Args().inout(x).input(x).scalar(5u));
    orch.submit(step, Args().inout(x).input(x.slice(0, 2, 4)).scalar(1u));
  });
  EXPECT_THAT(x.data<const std::uint32_t>().span(), Each(16u));
}

}  // namespace
}  // namespace echelon::tree_test
