// SPDX-License-Identifier: Apache-2.0
#include "chip/chip_worker.h"

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/syscall.h"
#include "chip/image.h"

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Uid kHost{11}, kChip{22}, kOtherChip{33};

/// Buffers of floats; those that "lie" on a chip have a size and no memory.
class FakeHosts final : public HostTensors {
 public:
  BufferId add(std::vector<float> values) {
    buffers_.push_back(std::move(values));
    return BufferId::make(static_cast<std::uint32_t>(buffers_.size() - 1), 1);
  }
  std::vector<float>& values(BufferId id) { return buffers_.at(id.slot()); }
  std::size_t opened = 0;

  Result<std::byte*> open(const TensorDesc& desc, Access want) override {
    if (desc.home != desc.issuer) {
      return Status::error(Code::kInvalidArgument, Reason::kForeignHandle, "it lies on a chip");
    }
    if (!allows(desc.access, want)) {
      return Status::error(Code::kPermissionDenied, Reason::kWrongAccess, "not allowed");
    }
    ++opened;
    return reinterpret_cast<std::byte*>(values(desc.buffer).data()) + desc.offset;
  }
  Result<std::uint64_t> buffer_bytes(Uid, BufferId id) override {
    if (id.slot() >= buffers_.size()) {
      return Status::error(Code::kNotFound, Reason::kStaleHandle, "stale handle");
    }
    return values(id).size() * sizeof(float);
  }

 private:
  std::vector<std::vector<float>> buffers_;
};

class Sink final : public ResultSink {
 public:
  void result(std::span<const std::byte>) override {}
  void error(const ErrorInfo& info) override { failure = info; }
  std::optional<ErrorInfo> failure;
};

TensorDesc tensor(BufferId id, std::vector<std::int64_t> shape, Uid home = kHost,
                  Access access = Access::kReadWrite) {
  return make_contiguous(kHost, id, home, DType::kFloat32, shape, access);
}
/// Every second column of a matrix of 4 columns.
TensorDesc odd_columns(BufferId id, std::int64_t rows, Uid home = kHost) {
  TensorDesc desc = tensor(id, {rows, 2}, home);
  desc.offset = sizeof(float);
  desc.stride = {4 * sizeof(float), 2 * sizeof(float)};
  return desc;
}
ScalarValue number(float value) {
  ScalarValue scalar{DType::kFloat32, 0};
  std::memcpy(&scalar.bits, &value, sizeof value);
  return scalar;
}

class ChipWorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto driver = ChipDriver::load("cpu");
    ASSERT_TRUE(driver.ok()) << driver.status().to_string();
    auto device = ChipDevice::open(
        *driver, {.driver = "cpu", .device = 0, .options = {{"memory", "1048576"}}});
    ASSERT_TRUE(device.ok()) << device.status().to_string();
    device_ = std::make_unique<ChipDevice>(std::move(device).value());
    worker_ = std::make_unique<ChipWorker>(*device_, kChip, hosts_, counters_, env_);
  }

  CallableSlot load(const char* kernel) {
    const CallableSlot slot{++slots_};
    const auto image = KernelImage::from_file(ECHELON_TEST_KERNELS, kernel);
    EXPECT_TRUE(image.ok()) << image.status().to_string();
    auto fd = duplicate_fd(image->descriptor());
    const auto pushed = PushedImage::open(std::move(fd).value(), image->file_bytes());
    EXPECT_TRUE(pushed.ok()) << pushed.status().to_string();
    EXPECT_TRUE(worker_->add_image(slot, *pushed).ok());
    return slot;
  }

  std::optional<ErrorInfo> run(TaskKind kind, CallableSlot slot, TaskBody body) {
    Sink sink;
    const std::atomic<std::uint64_t> cancelled{cancelled_};
    const TaskFrame frame{TaskId{7}, kind, slot, 0, body, {}, cancelled};
    worker_->run(frame, sink);
    return sink.failure;
  }
  std::optional<ErrorInfo> run_chip(const char* kernel, std::vector<TaggedTensor> tensors,
                                    std::vector<ScalarValue> scalars = {}, CallConfig config = {}) {
    return run(TaskKind::kChip, load(kernel), {tensors, scalars, config, {}});
  }
  std::optional<ErrorInfo> copy(const TensorDesc& to, const TensorDesc& from) {
    return run(TaskKind::kCopy, {}, {{{to, Tag::kOutput}, {from, Tag::kInput}}, {}, {}, {}});
  }
  static std::string text(const std::optional<ErrorInfo>& failure) {
    return failure ? failure->message : "";
  }

  SystemEnv env_;
  FakeHosts hosts_;
  ChipCounters counters_;
  std::unique_ptr<ChipDevice> device_;
  std::unique_ptr<ChipWorker> worker_;
  std::uint32_t slots_ = 0;
  std::uint64_t cancelled_ = 0;
};

TEST_F(ChipWorkerTest, HostTensorsAreStaged) {
  const auto x = hosts_.add({1, 2, 3}), y = hosts_.add({0, 0, 0});
  const auto failure = run_chip(
      "scale", {{tensor(x, {3}), Tag::kInput}, {tensor(y, {3}), Tag::kOutput}}, {number(3)});
  EXPECT_FALSE(failure) << text(failure);
  EXPECT_THAT(hosts_.values(y), ElementsAre(3, 6, 9));
  EXPECT_EQ(counters_.bytes_in.load(), 12u);
  EXPECT_EQ(counters_.bytes_out.load(), 12u);
}

TEST_F(ChipWorkerTest, BytesOfAnOutputAreNeverCopiedIn) {
  const auto x = hosts_.add({1, 2, 3, 4}), y = hosts_.add({66, 66, 66, 66});
  // Leaves 5, 5, 5, 5 in the staging piece that the next task will get for y.
  const auto five = hosts_.add({5, 5, 5, 5});
  EXPECT_FALSE(run_chip("idle", {{tensor(five, {4}), Tag::kInput}}));
  // Writes nothing: what comes back is what was in device memory, not y's own bytes.
  EXPECT_FALSE(run_chip("idle", {{tensor(y, {4}), Tag::kOutput}}));
  EXPECT_THAT(hosts_.values(y), ElementsAre(5, 5, 5, 5));
  EXPECT_EQ(counters_.bytes_in.load(), 16u);
  (void)x;
}

TEST_F(ChipWorkerTest, BytesOfAnInputAreNeverCopiedBack) {
  const auto x = hosts_.add({1, 2});
  EXPECT_FALSE(run_chip("idle", {{tensor(x, {2}, kHost, Access::kRead), Tag::kInput},
                                 {tensor(x, {2}), Tag::kNoDep}}));
  EXPECT_EQ(counters_.bytes_out.load(), 0u);
  const auto failure = run_chip("increment", {{tensor(x, {1, 2}), Tag::kInput}});
  EXPECT_FALSE(failure);
  EXPECT_THAT(hosts_.values(x), ElementsAre(1, 2));
}

TEST_F(ChipWorkerTest, InoutAndOutputExistingGoBothWays) {
  for (const Tag tag : {Tag::kInout, Tag::kOutputExisting}) {
    const auto x = hosts_.add({1, 2, 3, 4});
    EXPECT_FALSE(run_chip("increment", {{tensor(x, {2, 2}), tag}}));
    EXPECT_THAT(hosts_.values(x), ElementsAre(2, 3, 4, 5));
  }
}

TEST_F(ChipWorkerTest, TensorsWithGapsAreGatheredAndScattered) {
  const auto x = hosts_.add({0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_FALSE(run_chip("increment", {{odd_columns(x, 2), Tag::kInout}}));
  EXPECT_THAT(hosts_.values(x), ElementsAre(0, 2, 2, 4, 4, 6, 6, 8));
  EXPECT_EQ(counters_.bytes_in.load(), 16u);
  // On the device they are dense: a kernel that takes no gaps takes them.
  const auto y = hosts_.add({0, 0, 0, 0});
  EXPECT_FALSE(run_chip("scale", {{odd_columns(x, 2), Tag::kInput}, {tensor(y, {4}), Tag::kOutput}},
                        {number(1)}));
  EXPECT_THAT(hosts_.values(y), ElementsAre(2, 4, 6, 8));
}

TEST_F(ChipWorkerTest, ChipTensorsAreZeroedAndUsedInPlace) {
  const auto on_chip = hosts_.add(std::vector<float>(4));  // a size alone
  const auto y = hosts_.add({9, 9, 9, 9});
  const TensorDesc there = tensor(on_chip, {2, 2}, kChip);
  EXPECT_FALSE(run_chip("increment", {{there, Tag::kInout}}));
  EXPECT_FALSE(run_chip("increment", {{there, Tag::kInout}}));
  EXPECT_EQ(counters_.bytes_in.load() + counters_.bytes_out.load(), 0u);
  EXPECT_EQ(hosts_.opened, 0u);
  EXPECT_FALSE(copy(tensor(y, {4}), there));
  EXPECT_THAT(hosts_.values(y), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(hosts_.values(on_chip), ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(counters_.bytes_out.load(), 16u);
}

TEST_F(ChipWorkerTest, ASliceOfAChipTensorIsUsedInPlace) {
  const auto on_chip = hosts_.add(std::vector<float>(8));
  const auto y = hosts_.add(std::vector<float>(8));
  EXPECT_FALSE(run_chip("increment", {{odd_columns(on_chip, 2, kChip), Tag::kInout}}));
  EXPECT_FALSE(copy(tensor(y, {8}), tensor(on_chip, {8}, kChip)));
  EXPECT_THAT(hosts_.values(y), ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
}

TEST_F(ChipWorkerTest, AReleasedBufferIsFreed) {
  const auto on_chip = hosts_.add(std::vector<float>(100'000));
  const std::uint64_t free_before = device_->info()->memory_free_bytes;
  EXPECT_FALSE(run_chip("idle", {{tensor(on_chip, {100'000}, kChip), Tag::kInput}}));
  EXPECT_EQ(worker_->buffer_count(), 1u);
  EXPECT_LT(device_->info()->memory_free_bytes, free_before);
  worker_->release_buffer(on_chip);
  EXPECT_EQ(worker_->buffer_count(), 0u);
  EXPECT_EQ(device_->info()->memory_free_bytes, free_before);
  worker_->release_buffer(on_chip);
}

TEST_F(ChipWorkerTest, CopiesGoAnyWay) {
  const auto x = hosts_.add({1, 2, 3, 4}), y = hosts_.add(std::vector<float>(4));
  const auto a = hosts_.add(std::vector<float>(4)), b = hosts_.add(std::vector<float>(8));
  EXPECT_FALSE(copy(tensor(a, {4}, kChip), tensor(x, {4})));               // host to chip
  EXPECT_FALSE(copy(odd_columns(b, 2, kChip), tensor(a, {2, 2}, kChip)));  // chip to chip, gaps
  EXPECT_FALSE(copy(tensor(y, {2, 2}), odd_columns(b, 2, kChip)));         // chip to host, gaps
  EXPECT_THAT(hosts_.values(y), ElementsAre(1, 2, 3, 4));
  const auto z = hosts_.add(std::vector<float>(8));
  EXPECT_FALSE(copy(odd_columns(z, 2), tensor(y, {2, 2})));  // host to host, gaps
  EXPECT_THAT(hosts_.values(z), ElementsAre(0, 1, 0, 2, 0, 3, 0, 4));
}

TEST_F(ChipWorkerTest, OverlappingViewsOfOneBufferAreCopiedAsIfAtOnce) {
  const auto x = hosts_.add({1, 2, 3, 4, 5});
  TensorDesc to = tensor(x, {4});
  to.offset = sizeof(float);
  EXPECT_FALSE(copy(to, tensor(x, {4})));
  EXPECT_THAT(hosts_.values(x), ElementsAre(1, 1, 2, 3, 4));
}

TEST_F(ChipWorkerTest, CopiesThatDoNotMatchAreRefused) {
  const auto x = hosts_.add({1, 2, 3}), y = hosts_.add({1, 2});
  const auto failure = copy(tensor(y, {2}), tensor(x, {3}));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, Reason::kWrongType);
  EXPECT_THAT(failure->message, HasSubstr("the source has 3 elements of float32, the target 2"));
}

TEST_F(ChipWorkerTest, GridAndValuesReachTheKernel) {
  const auto out = hosts_.add(std::vector<float>(4));
  TensorDesc desc = tensor(out, {4});
  desc.dtype = DType::kUInt32;
  CallConfig config;
  config.grid = {2, 1, 1};
  config.cores = 2;
  config.profiling = 9;
  config.values = {{"mode", "exact"}};
  EXPECT_FALSE(run_chip("read_config", {{desc, Tag::kOutput}}, {}, config));
  std::uint32_t seen[4];
  std::memcpy(seen, hosts_.values(out).data(), sizeof seen);
  EXPECT_THAT(seen, ElementsAre(1, 9, 2, 2));
}

TEST_F(ChipWorkerTest, AFaultIsARunningErrorAndCopiesNothingBack) {
  const auto x = hosts_.add({1, 2});
  const auto failure = run_chip("throw_error", {{tensor(x, {2}), Tag::kInout}});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->phase, Phase::kRunning);
  EXPECT_EQ(failure->cause, Cause::kException);
  EXPECT_EQ(failure->message, "thrown by a kernel");
  EXPECT_EQ(counters_.bytes_out.load(), 0u);
  EXPECT_FALSE(run_chip("idle", {}));
}

TEST_F(ChipWorkerTest, AStagingErrorSaysWhichTensor) {
  const auto x = hosts_.add({1, 2});
  auto failure = run_chip("idle", {{tensor(x, {2}), Tag::kInput},
                                   {tensor(x, {2}, kHost, Access::kRead), Tag::kOutput}});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->phase, Phase::kStaging);
  EXPECT_EQ(failure->reason, Reason::kWrongAccess);
  EXPECT_THAT(failure->message, HasSubstr("tensor 1: "));

  failure = run_chip("idle", {{tensor(x, {2}, kOtherChip), Tag::kInput}});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, Reason::kForeignHandle);

  failure = run_chip("idle", {{tensor(BufferId::make(999, 1), {2}, kChip), Tag::kInput}});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kStaleHandle);

  failure = run_chip("idle", {{tensor(x, {3}, kChip), Tag::kInput}});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->message, HasSubstr("does not lie within its buffer"));
}

TEST_F(ChipWorkerTest, DeviceMemoryThatIsUsedUpSaysSo) {
  const auto big = hosts_.add(std::vector<float>(1'000'000));
  const auto failure = run_chip("idle", {{tensor(big, {1'000'000}), Tag::kInput}});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->reason, Reason::kExhausted);
  EXPECT_EQ(failure->cause, Cause::kOutOfMemory);
  EXPECT_THAT(failure->message, HasSubstr("bytes are free"));
}

TEST_F(ChipWorkerTest, IdleStagingPiecesGiveWay) {
  // 600 KB staged and kept; a chip tensor of the same size does not fit beside it.
  const auto staged = hosts_.add(std::vector<float>(130'000));
  EXPECT_FALSE(run_chip("idle", {{tensor(staged, {130'000}), Tag::kInput}}));
  const auto on_chip = hosts_.add(std::vector<float>(200'000));
  const auto failure = run_chip("idle", {{tensor(on_chip, {200'000}, kChip), Tag::kInput}});
  EXPECT_FALSE(failure) << text(failure);
}

TEST_F(ChipWorkerTest, WhatAChipCannotRunIsRefused) {
  auto failure = run(TaskKind::kSub, {}, {});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->message, HasSubstr("a chip runs chip tasks and copies"));
  failure = run(TaskKind::kChip, CallableSlot{77}, {});
  ASSERT_TRUE(failure);
  EXPECT_THAT(failure->message, HasSubstr("no image is loaded in slot 77"));
}

TEST_F(ChipWorkerTest, ACancelledTaskIsNotLaunched) {
  cancelled_ = 7;
  const auto failure = run_chip("crash", {});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->cause, Cause::kCancelled);
}

TEST_F(ChipWorkerTest, AnImageThatIsNoneIsRefused) {
  auto fd = create_memfd("not-an-image", 100);
  ASSERT_TRUE(fd.ok());
  auto copy_of = duplicate_fd(fd->get());
  EXPECT_THAT(PushedImage::open(std::move(copy_of).value(), 100).status().info().message,
              HasSubstr("not sealed"));
  ASSERT_TRUE(add_seals(fd->get(), 0x0002 | 0x0004 | 0x0008).ok());
  EXPECT_THAT(PushedImage::open(std::move(fd).value(), 100).status().info().message,
              HasSubstr("does not end as an image file"));
}

}  // namespace
}  // namespace echelon
