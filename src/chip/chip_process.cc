// SPDX-License-Identifier: Apache-2.0
#include "chip/chip_process.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <echelon/node_info.h>
#include <fmt/format.h>

#include "base/syscall.h"
#include "chip/chip_start.h"
#include "chip/chip_worker.h"
#include "observe/node_stats.h"
#include "process/child_connection.h"
#include "shm/buffer_table.h"
#include "shm/pool_push.h"

namespace echelon {
namespace {

constexpr int kExitFailed = 1;
constexpr int kChipLevel = 2;

/// Host pools as they came down the edge.
class EdgeTensors final : public HostTensors {
 public:
  explicit EdgeTensors(ChildConnection& parent) : parent_(parent) {}

  Result<std::byte*> open(const TensorDesc& desc, Access want) override {
    return parent_.pools().open(desc, want);
  }

  Result<std::uint64_t> buffer_bytes(Uid issuer, BufferId id) override {
    auto known = tables_.find(issuer);
    if (known == tables_.end()) {
      ECHELON_ASSIGN_OR_RETURN(BufferTableView table, open_table(issuer));
      known = tables_.emplace(issuer, std::move(table)).first;
    }
    ECHELON_ASSIGN_OR_RETURN(const BufferPlace place, known->second.find(id));
    return place.bytes;
  }

 private:
  Result<BufferTableView> open_table(Uid issuer) {
    const auto pool = parent_.pools().descriptors(issuer);
    if (!pool.has_value() || pool->table_fd < 0) {
      return Status::error(
          Code::kInvalidArgument, Reason::kForeignHandle,
          fmt::format("a handle of another Worker (uid {:016x}): its buffers are not known here",
                      issuer.value));
    }
    ECHELON_ASSIGN_OR_RETURN(UniqueFd fd, duplicate_fd(pool->table_fd));
    return BufferTableView::open(std::move(fd));
  }

  ChildConnection& parent_;
  std::map<Uid, BufferTableView> tables_;
};

/// What outlives the start and is read on the control thread.
struct Figures {
  NodeInfo node;  // what never changes
  MonotonicNs started_ns = 0;
  ChipCounters chip;
};

/// Everything a chip holds, in the order in which it was made.
class Chip final : public TaskHandler {
 public:
  Chip(ChildConnection& parent, ChipDevice device, ChipCounters& counters)
      : hosts_(parent),
        device_(std::move(device)),
        worker_(device_, parent.boot().uid, hosts_, counters, parent.env()) {}

  void run(const TaskFrame& task, ResultSink& sink) override { worker_.run(task, sink); }
  void release_buffer(BufferId id) override { worker_.release_buffer(id); }
  std::shared_ptr<CallableHost> callable_host() override { return worker_.callable_host(); }

  /// The images that the Worker pushes before this chip is ready. Errors: kImage, kBadFrame.
  Status take_images(ChildConnection& parent, std::uint32_t count) {
    for (std::uint32_t taken = 0; taken < count;) {
      parent.phase(fmt::format("waiting for image {} of {}", taken + 1, count));
      auto received = receive_push(parent.edge().fd(), /*wait=*/true);
      if (!received.ok()) return received.status();
      if (received->end) {
        return Status::error(Code::kUnavailable, Reason::kStartFailed,
                             "its Worker closed the edge while images were awaited");
      }
      if (received->push.kind == PushKind::kChipImage) {
        ECHELON_RETURN_IF_ERROR(take_image(parent, std::move(received).value()));
        ++taken;
      } else {
        SpillInbox none;  // no task can have come yet, and so no body of one
        ECHELON_RETURN_IF_ERROR(parent.pools().adopt(std::move(received).value(), none));
      }
    }
    return Status();
  }

 private:
  Status take_image(ChildConnection& parent, ReceivedPush received) {
    ECHELON_ASSIGN_OR_RETURN(const PushedImage image,
                             PushedImage::open(std::move(received.fd), received.push.bytes));
    parent.phase("loading image " + image.kernel());
    return worker_.add_image(CallableSlot{static_cast<std::uint32_t>(received.push.index)}, image);
  }

  EdgeTensors hosts_;
  ChipDevice device_;
  ChipWorker worker_;
};

Result<std::unique_ptr<TaskHandler>> make_chip(ChildConnection& parent, const ChipStart& start,
                                               ChipCounters& counters) {
  parent.phase("loading driver " + start.chip.driver);
  ECHELON_ASSIGN_OR_RETURN(const ChipDriver driver, ChipDriver::load(start.chip.driver));
  parent.phase(fmt::format("opening device {} {}", start.chip.driver, start.chip.device));
  ECHELON_ASSIGN_OR_RETURN(ChipDevice device, ChipDevice::open(driver, start.chip));
  auto chip = std::make_unique<Chip>(parent, std::move(device), counters);
  ECHELON_RETURN_IF_ERROR(chip->take_images(parent, start.image_count));
  return std::unique_ptr<TaskHandler>(std::move(chip));
}

std::vector<std::byte> encode_figures(const Figures& figures, const TaskServerCounters& tasks) {
  const auto value = [](const std::atomic<std::uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  NodeInfo node = figures.node;
  node.tasks = value(tasks.tasks);
  node.tasks_failed = value(tasks.failed);
  node.busy = std::chrono::nanoseconds(value(tasks.busy_ns));
  node.up = std::chrono::nanoseconds(SystemEnv().now_ns() - figures.started_ns);
  node.bytes_in = value(figures.chip.bytes_in);
  node.bytes_out = value(figures.chip.bytes_out);
  return encode_node(node);
}

}  // namespace

int run_chip(ChildBoot boot) {
  const auto start = parse_chip_arguments(boot.arguments);
  const Status usable = start.ok() ? check_build_id(*start) : start.status();
  if (!usable.ok()) {
    // A channel of another build is not to be touched.
    std::fprintf(stderr, "%s: %s\n", boot.path.c_str(), usable.info().message.c_str());
    return kExitFailed;
  }
  Figures figures;
  figures.node.name = boot.name;
  figures.node.path = boot.path;
  figures.node.kind = "chip";
  figures.node.level = kChipLevel;
  figures.node.state = "ready";
  figures.node.pid = ::getpid();
  figures.started_ns = SystemEnv().now_ns();
  Leaf leaf;
  leaf.make_handler = [&](ChildConnection& parent) {
    return make_chip(parent, *start, figures.chip);
  };
  leaf.stats = [&figures](const TaskServerCounters& tasks) {
    return encode_figures(figures, tasks);
  };
  return run_leaf(std::move(boot), leaf);
}

}  // namespace echelon
