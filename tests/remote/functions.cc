// SPDX-License-Identifier: Apache-2.0
#include "functions.h"

#include <unistd.h>

#include <numeric>
#include <stdexcept>
#include <thread>

namespace echelon::remote_test {

Place here(const std::string& path) {
  Place place;
  path.copy(place.path.data(), place.path.size() - 1);
  place.pid = ::getpid();
  return place;
}

namespace {

ECHELON_SUB("remote where", [](Task& task) { return here(task.path()); });
ECHELON_SUB("remote scale part", [](Task& task) {
  const auto x = task.tensor<const float>(0);
  const auto y = task.tensor<float>(1);
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = task.scalar<float>(0) * x[i];
});
ECHELON_SUB("remote add one", [](Task& task) {
  const auto x = task.tensor<float>(0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += 1.0f;
});
ECHELON_SUB("remote fill part", [](Task& task) {
  const auto x = task.tensor<float>(0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = task.scalar<float>(0);
});
ECHELON_SUB("remote sum of bytes", [](Task& task) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < task.inline_count(); ++i) {
    for (const std::byte one : task.inline_bytes(i)) sum += std::to_integer<unsigned>(one);
  }
  return sum;
});
ECHELON_SUB("remote fail", [](Task&) { throw std::runtime_error("the disk is full"); });
ECHELON_SUB("remote spin", [](Task& task) {
  while (!task.cancelled()) std::this_thread::yield();
});

ECHELON_ORCH("remote ask", [](Orchestrator& orch) {
  return orch.submit(orch.find_sub("remote where")).result<Place>();
});
ECHELON_ORCH("remote where orch", [](Orchestrator& orch) { return here(orch.path()); });
ECHELON_ORCH("remote scale", [](Orchestrator& orch, TaskArgs& args) {
  const SubHandle part = orch.find_sub("remote scale part");
  const Tensor x = args.handle(0);
  const Tensor y = args.handle(1);
  const std::int64_t half = x.extent(0) / 2;
  for (const auto& [begin, end] : {std::pair{std::int64_t{0}, half}, {half, x.extent(0)}}) {
    orch.submit(part, Args()
                          .input(x.slice(0, begin, end))
                          .output(y.slice(0, begin, end))
                          .scalar(args.scalar<float>(0)));
  }
});
ECHELON_ORCH("remote add one below", [](Orchestrator& orch, TaskArgs& args) {
  orch.submit(orch.find_sub("remote add one"), Args().inout(args.handle(0)));
});
ECHELON_ORCH("remote fill", [](Orchestrator& orch, TaskArgs& args) {
  orch.submit(orch.find_sub("remote fill part"),
              Args().output(args.handle(0)).scalar(args.scalar<float>(0)));
});
// Hands them on, and adds a thousand for each time that it was given some.
ECHELON_ORCH("remote sum below", [](Orchestrator& orch, TaskArgs& args) {
  Args below;
  for (std::size_t i = 0; i < args.inline_count(); ++i) below.inline_bytes(args.inline_bytes(i));
  return orch.submit(orch.find_sub("remote sum of bytes"), below).result<std::uint64_t>() +
         1000 * args.inline_count();
});
ECHELON_ORCH("remote fail below",
             [](Orchestrator& orch) { orch.submit(orch.find_sub("remote fail")); });
ECHELON_ORCH("remote pass on", [](Orchestrator& orch) {
  return orch.submit(orch.find_orch("remote where orch")).result<Place>();
});
ECHELON_ORCH("remote late", [](Orchestrator&) { return 41; });
ECHELON_ORCH("remote config", [](Orchestrator&, TaskArgs&, const CallConfig& config) {
  const auto value = config.values.find("key");
  return config.grid == std::array<std::uint32_t, 3>{2, 3, 4} && value != config.values.end() &&
         value->second == "value";
});
ECHELON_ORCH("remote large", [](Orchestrator&, TaskArgs& args) {
  args.set_result_bytes(std::vector<std::byte>(kResultBytesMax, std::byte{7}));
});
ECHELON_ORCH("remote spin below",
             [](Orchestrator& orch) { orch.submit(orch.find_sub("remote spin")); });

}  // namespace

Functions::Functions(Worker& top)
    : where(top.register_sub("remote where")),
      scale_part(top.register_sub("remote scale part")),
      fail(top.register_sub("remote fail")),
      spin(top.register_sub("remote spin")),
      ask(top.register_orch("remote ask")),
      where_orch(top.register_orch("remote where orch")),
      scale(top.register_orch("remote scale")),
      add_one(top.register_orch("remote add one below")),
      fill(top.register_orch("remote fill")),
      fail_below(top.register_orch("remote fail below")),
      sum_below(top.register_orch("remote sum below")),
      spin_below(top.register_orch("remote spin below")),
      config(top.register_orch("remote config")),
      pass_on(top.register_orch("remote pass on")),
      large(top.register_orch("remote large")) {
  top.register_sub("remote add one");
  top.register_sub("remote sum of bytes");
  top.register_sub("remote fill part");
}

std::vector<float> numbers(std::size_t count, float first) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

}  // namespace echelon::remote_test
