// SPDX-License-Identifier: Apache-2.0
//
// A chip's process from its exec to its end, over a real spawner and channel.
#include "chip/chip_process.h"

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chip/chip_start.h"
#include "chip/driver_loader.h"
#include "chip/image.h"
#include "chip/image_push.h"
#include "observe/node_stats.h"
#include "process/test_tree.h"
#include "shm/pool.h"

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint32_t kSlotBase = 40;

/// One chip below a test's Worker, which has a pool.
class ChipTree {
 public:
  explicit ChipTree(std::vector<const char*> kernels, ChipStart start = {}) {
    HostPoolOptions options;
    options.segment_bytes_min = 1 << 20;
    options.owner = "test";
    pool = std::move(HostPool::create(Uid{77}, options)).value();
    start.image_count = static_cast<std::uint32_t>(kernels.size());
    TestTree::Options tree_options;
    tree_options.children = 0;
    tree_options.pool = pool.get();
    tree_options.chip_arguments = chip_arguments(start);
    tree_options.chip_executable = find_chip_executable().value();
    tree = std::make_unique<TestTree>(std::move(tree_options));
    chip = tree->add(ChildKind::kChip);
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      const auto image = KernelImage::from_file(ECHELON_TEST_KERNELS, kernels[i]);
      const CallableSlot slot{kSlotBase + static_cast<std::uint32_t>(i)};
      EXPECT_TRUE(push_image(tree->child().edge().fd(), slot, *image, true).ok());
    }
  }

  bool started() { return tree->start(); }
  Status start_error() {
    tree->pump_until([&] { return tree->child().start_progress().state == StartState::kFailed; });
    return tree->child().start_progress().error;
  }

  TensorDesc tensor(std::vector<float> values) {
    const BufferId id = pool->allocate(values.size() * sizeof(float)).value();
    std::memcpy(pool->bytes_of(id)->data(), values.data(), values.size() * sizeof(float));
    return make_contiguous(Uid{77}, id, Uid{77}, DType::kFloat32,
                           std::vector<std::int64_t>{static_cast<std::int64_t>(values.size())},
                           Access::kReadWrite);
  }
  TensorDesc chip_tensor(std::int64_t count) {
    const auto bytes = static_cast<std::uint64_t>(count) * sizeof(float);
    const BufferId id = pool->name_elsewhere(bytes).value();
    return make_contiguous(Uid{77}, id, tree->child().channel().uid(), DType::kFloat32,
                           std::vector<std::int64_t>{count}, Access::kReadWrite);
  }
  std::vector<float> values(const TensorDesc& desc) {
    std::vector<float> result(desc.element_count());
    std::memcpy(result.data(), pool->bytes_of(desc.buffer)->data(), result.size() * sizeof(float));
    return result;
  }

  TaskId send(TaskKind kind, std::uint32_t kernel, std::vector<TaggedTensor> tensors,
              std::vector<ScalarValue> scalars = {}) {
    std::vector<std::byte> body(task_body_bytes(tensors, scalars, nullptr));
    encode_task_body(tensors, scalars, nullptr, body);
    Dispatch dispatch;
    dispatch.task = TaskId{next_task_++};
    dispatch.kind = kind;
    dispatch.slot = CallableSlot{kSlotBase + kernel};
    dispatch.body = body;
    EXPECT_EQ(tree->child().try_dispatch(dispatch), DispatchResult::kSent);
    return dispatch.task;
  }
  Status run(TaskKind kind, std::uint32_t kernel, std::vector<TaggedTensor> tensors,
             std::vector<ScalarValue> scalars = {}) {
    const TaskId task = send(kind, kernel, std::move(tensors), std::move(scalars));
    EXPECT_TRUE(tree->pump_until_done(task));
    return tree->done[task].status;
  }
  NodeInfo stats() {
    EXPECT_TRUE(tree->child().request_stats(1));
    std::optional<LocalEndpoint::StatsReply> reply;
    tree->pump_until([&] { return (reply = tree->child().take_stats_reply()).has_value(); });
    return decode_node(reply->bytes).value();
  }

  std::unique_ptr<HostPool> pool;
  std::unique_ptr<TestTree> tree;
  ChildIndex chip;

 private:
  std::uint64_t next_task_ = 1;
};

ScalarValue number(float value) {
  ScalarValue scalar{DType::kFloat32, 0};
  std::memcpy(&scalar.bits, &value, sizeof value);
  return scalar;
}

TEST(ChipProcess, RunsAKernelOnHostTensorsAndEndsInOrder) {
  ChipTree tree({"idle", "scale"});
  ASSERT_TRUE(tree.started());
  const TensorDesc x = tree.tensor({1, 2, 3}), y = tree.tensor({0, 0, 0});
  const Status done =
      tree.run(TaskKind::kChip, 1, {{x, Tag::kInput}, {y, Tag::kOutput}}, {number(10)});
  EXPECT_TRUE(done.ok()) << done.to_string();
  EXPECT_THAT(tree.values(y), ElementsAre(10, 20, 30));
  EXPECT_TRUE(tree.tree->close().ok());
  EXPECT_EQ(tree.tree->exits[tree.chip].wait_status, 0);
}

TEST(ChipProcess, ChipTensorsStayThereFromTaskToTask) {
  ChipTree tree({"scale"});
  ASSERT_TRUE(tree.started());
  const TensorDesc x = tree.tensor({1, 2}), y = tree.tensor({0, 0});
  const TensorDesc a = tree.chip_tensor(2), b = tree.chip_tensor(2);
  // All of them in flight at once: the ring keeps their order.
  tree.send(TaskKind::kCopy, 0, {{a, Tag::kOutput}, {x, Tag::kInput}});
  tree.send(TaskKind::kChip, 0, {{a, Tag::kInput}, {b, Tag::kOutput}}, {number(3)});
  const TaskId last = tree.send(TaskKind::kCopy, 0, {{y, Tag::kOutput}, {b, Tag::kInput}});
  ASSERT_TRUE(tree.tree->pump_until_done(last));
  EXPECT_TRUE(tree.tree->done[last].status.ok()) << tree.tree->done[last].status.to_string();
  EXPECT_THAT(tree.values(y), ElementsAre(3, 6));

  // Freed and named no more: a stale handle, not old bytes.
  EXPECT_TRUE(tree.pool->free(a.buffer).ok());
  EXPECT_EQ(tree.tree->child().try_release_buffer(a.buffer), DispatchResult::kSent);
  const Status stale = tree.run(TaskKind::kCopy, 0, {{y, Tag::kOutput}, {a, Tag::kInput}});
  EXPECT_EQ(stale.reason(), Reason::kStaleHandle) << stale.to_string();
}

TEST(ChipProcess, SaysWhatItHasDone) {
  ChipTree tree({"scale"});
  ASSERT_TRUE(tree.started());
  const TensorDesc x = tree.tensor({1, 2, 3}), y = tree.tensor({0, 0, 0});
  EXPECT_TRUE(
      tree.run(TaskKind::kChip, 0, {{x, Tag::kInput}, {y, Tag::kOutput}}, {number(1)}).ok());
  const NodeInfo node = tree.stats();
  EXPECT_EQ(node.kind, "chip");
  EXPECT_EQ(node.path, "root/child0");
  EXPECT_EQ(node.tasks, 1u);
  EXPECT_EQ(node.bytes_in, 12u);
  EXPECT_EQ(node.bytes_out, 12u);
  EXPECT_EQ(node.pid, tree.tree->child().pid());
}

TEST(ChipProcess, AFaultIsTheTasksErrorAndTheChipGoesOn) {
  ChipTree tree({"throw_error", "idle"});
  ASSERT_TRUE(tree.started());
  const Status failed = tree.run(TaskKind::kChip, 0, {});
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.info().message, "thrown by a kernel");
  EXPECT_EQ(failed.info().phase, Phase::kRunning);
  EXPECT_EQ(failed.info().cause, Cause::kException);
  EXPECT_EQ(failed.info().path, "root/child0");
  EXPECT_TRUE(tree.run(TaskKind::kChip, 1, {}).ok());
}

TEST(ChipProcess, ACrashEndsTheChipWithTheSignal) {
  ChipTree tree({"crash"});
  ASSERT_TRUE(tree.started());
  tree.send(TaskKind::kChip, 0, {});
  ASSERT_TRUE(tree.tree->pump_until([&] { return tree.tree->gone.contains(tree.chip); }));
  const Status& why = tree.tree->down[tree.chip];
  ASSERT_FALSE(why.ok());
  EXPECT_EQ(why.reason(), Reason::kChildDied) << why.to_string();
}

TEST(ChipProcess, AnUnknownDriverIsTheStartsError) {
  ChipStart start;
  start.chip.driver = "abacus";
  ChipTree tree({}, start);
  const Status error = tree.start_error();
  ASSERT_FALSE(error.ok());
  EXPECT_THAT(error.info().message, HasSubstr("unknown chip driver 'abacus'"));
  EXPECT_EQ(error.info().path, "root/child0");
  EXPECT_NE(error.info().pid, 0);
}

TEST(ChipProcess, ABadOptionIsTheStartsError) {
  ChipStart start;
  start.chip.options = {{"colour", "blue"}};
  ChipTree tree({}, start);
  const Status error = tree.start_error();
  ASSERT_FALSE(error.ok());
  EXPECT_THAT(error.info().message, HasSubstr("unknown option 'colour'"));
}

TEST(ChipProcess, AnImageThatDoesNotLoadIsTheStartsError) {
  // A good symbol table in front of nothing else.
  std::ifstream file(ECHELON_TEST_KERNEL_IN_C, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  bytes[54] = 1;  // the size of a program header
  const auto image = KernelImage::from_bytes(std::as_bytes(std::span(bytes)), "fill_seven", "bent");
  ASSERT_TRUE(image.ok()) << image.status().to_string();
  ChipStart start;
  start.image_count = 1;
  TestTree::Options options;
  options.children = 0;
  options.chip_arguments = chip_arguments(start);
  options.chip_executable = find_chip_executable().value();
  TestTree tree(std::move(options));
  tree.add(ChildKind::kChip);
  ASSERT_TRUE(push_image(tree.child().edge().fd(), CallableSlot{1}, *image, true).ok());
  tree.pump_until([&] { return tree.child().start_progress().state == StartState::kFailed; });
  const Status error = tree.child().start_progress().error;
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(error.reason(), Reason::kImage) << error.to_string();
  EXPECT_THAT(error.info().message, HasSubstr("kernel 'fill_seven'"));
}

TEST(ChipProcess, AnotherBuildIsRefusedBeforeTheChannelIsTouched) {
  ChipStart start;
  start.build_id = "0123abcd";
  ChipTree tree({}, start);
  ASSERT_TRUE(tree.tree->pump_until([&] { return tree.tree->exits.contains(tree.chip); }));
  EXPECT_THAT(tree.tree->exits[tree.chip].stderr_tail,
              HasSubstr("of another build than the Worker that starts it"));
  EXPECT_THAT(tree.tree->exits[tree.chip].stderr_tail, HasSubstr("0123abcd"));
}

}  // namespace
}  // namespace echelon
