// SPDX-License-Identifier: Apache-2.0
//
// Copies to and from remote Workers that are not waited for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "functions.h"
#include "remote_host.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using tree_test::thrown;

/// Some pieces, and no whole number of them.
constexpr std::size_t kMany = 1'500'000;

class RemoteCopies : public testing::Test {
 protected:
  RemoteCopies() : far(pod.add_remote_worker(host.spec("far"))) {}

  Tensor remote(std::size_t count) {
    return pod.remote_tensor<float>(far, {static_cast<std::int64_t>(count)});
  }
  std::vector<float> read(const Tensor& tensor) {
    std::vector<float> values(tensor.size());
    pod.copy_from(tensor, std::span(values));
    return values;
  }
  /// A run whose task has `tensor` until it is cancelled.
  echelon::Run hold(const Tensor& tensor) {
    return pod.submit(
        [&](Orchestrator& orch) { orch.submit(functions.spin_below, Args().inout(tensor)); });
  }

  RemoteHost host;
  Worker pod{{.level = 4}};
  const WorkerId far;
  Functions functions{pod};
};

TEST_F(RemoteCopies, GoThereAndComeBack) {
  pod.start();
  const std::vector<float> values = numbers(kMany);
  const Tensor tensor = remote(kMany);
  const auto there = pod.copy_to_async(tensor, std::span(values));
  there.wait();
  EXPECT_TRUE(there.done());
  std::vector<float> back(kMany);
  pod.copy_from_async(tensor, std::span(back)).wait();
  EXPECT_EQ(back, values);
}

TEST_F(RemoteCopies, TakeAPart) {
  pod.start();
  const Tensor tensor = remote(4);
  const std::vector<float> two = {5, 6};
  pod.copy_to_async(tensor, std::span(two), 1).wait();
  std::vector<float> three(3);
  pod.copy_from_async(tensor, std::span(three), 1).wait();
  EXPECT_THAT(three, ElementsAre(5, 6, 0));
}

TEST_F(RemoteCopies, SeveralAreUnderWayAtOnce) {
  pod.start();
  constexpr std::size_t kCopies = 8;
  std::vector<std::vector<float>> given, got;
  std::vector<Tensor> tensors;
  std::vector<echelon::Run> runs;
  for (std::size_t i = 0; i < kCopies; ++i) {
    given.push_back(numbers(kMany / 4, static_cast<float>(i)));
    got.emplace_back(kMany / 4);
    tensors.push_back(remote(kMany / 4));
  }
  for (std::size_t i = 0; i < kCopies; ++i) {
    runs.push_back(pod.copy_to_async(tensors[i], std::span(given[i])));
    // Ordered behind the copy that writes the same tensor.
    runs.push_back(pod.copy_from_async(tensors[i], std::span(got[i])));
  }
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) run->wait();
  EXPECT_EQ(got, given);
}

TEST_F(RemoteCopies, AreOrderedLikeTasks) {
  pod.start();
  const Tensor tensor = remote(4);
  const auto held = hold(tensor);
  const std::vector<float> values = {1, 2, 3, 4};
  const auto copy = pod.copy_to_async(tensor, std::span(values));
  EXPECT_FALSE(copy.done());
  EXPECT_FALSE(copy.wait_until(std::chrono::steady_clock::now()));
  held.cancel();
  copy.wait();
  EXPECT_THAT(read(tensor), ElementsAreArray(values));
}

TEST_F(RemoteCopies, OneThatIsCancelledInTimeMovesNothing) {
  pod.start();
  const Tensor tensor = remote(4);
  const auto held = hold(tensor);
  const std::vector<float> values = {1, 2, 3, 4};
  const auto copy = pod.copy_to_async(tensor, std::span(values));
  copy.cancel();
  EXPECT_THAT(thrown<Cancelled>([&] { copy.wait(); }).message(), HasSubstr("cancelled"));
  held.cancel();
  EXPECT_THAT(read(tensor), ElementsAre(0, 0, 0, 0));
}

TEST_F(RemoteCopies, KeepWhatTheyAreGivenUntilTheyHaveEnded) {
  pod.start();
  const Tensor tensor = remote(4);
  const auto held = hold(tensor);
  auto values = std::make_shared<std::vector<float>>(numbers(4));
  const std::span<const float> elements(*values);
  const std::weak_ptr<std::vector<float>> watched = values;
  // Dropped at once: the copy goes on, and so does what it reads.
  pod.copy_to_async(tensor, elements, 0, std::move(values));
  EXPECT_FALSE(watched.expired());
  held.cancel();
  EXPECT_THAT(read(tensor), ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(watched.expired());
}

TEST_F(RemoteCopies, ASessionThatDiesEndsThem) {
  pod.start();
  const Tensor tensor = remote(4);
  const auto held = hold(tensor);
  auto values = std::make_shared<std::vector<float>>(numbers(4));
  const std::span<const float> elements(*values);
  const std::weak_ptr<std::vector<float>> watched = values;
  const auto copy = pod.copy_to_async(tensor, elements, 0, std::move(values));
  host.kill();
  thrown<ChildLost>([&] { copy.wait(); });
  EXPECT_TRUE(watched.expired());
}

TEST_F(RemoteCopies, CloseEndsThem) {
  pod.start();
  const Tensor tensor = remote(4);
  hold(tensor);
  std::vector<float> values(4);
  const auto copy = pod.copy_from_async(tensor, std::span(values));
  pod.close();
  EXPECT_TRUE(copy.done());
  thrown<Error>([&] { copy.wait(); });
}

TEST_F(RemoteCopies, OfNothingEndAtOnce) {
  pod.start();
  const auto copy = pod.copy_to_async(remote(4), std::span<const float>());
  copy.wait();
  EXPECT_TRUE(copy.done());
}

TEST_F(RemoteCopies, BeyondTheEndAreRefusedAtOnce) {
  pod.start();
  const Tensor tensor = remote(4);
  std::vector<float> two(2);
  EXPECT_THAT(
      thrown<InvalidArgument>([&] {
        (void)pod.copy_from_async(tensor, std::span(two), 3);
      }).message(),
      HasSubstr("copy_from: bytes 12 to 20 of float32[4] of pod0/far, remote memory, which has "
                "16"));
}

}  // namespace
}  // namespace echelon::remote_test
