// SPDX-License-Identifier: Apache-2.0
//
// Copies from one remote Worker to another: from host to host, not through the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <string>

#include "functions.h"
#include "remote_host.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::AllOf;
using testing::ElementsAreArray;
using testing::HasSubstr;
using tree_test::thrown;

/// Some pieces, and no whole number of them.
constexpr std::size_t kMany = 1'500'000;

/// What the hosts' sessions have exchanged with the program, in bytes of tensors.
std::uint64_t through_the_program(const Worker& pod) {
  std::uint64_t bytes = 0;
  for (const NodeInfo& child : pod.tree().children) bytes += child.bytes_in + child.bytes_out;
  return bytes;
}

class Peers : public testing::Test {
 protected:
  explicit Peers(bool direct = true)
      : left(pod.add_remote_worker(spec(a, "left", direct))),
        right(pod.add_remote_worker(spec(b, "right", true))) {
    pod.start();
  }

  static RemoteWorkerSpec spec(const RemoteHost& host, const std::string& name, bool direct) {
    RemoteWorkerSpec made = host.spec(name);
    made.direct_copies = direct;
    return made;
  }
  Tensor remote(WorkerId worker, std::size_t count) {
    return pod.remote_tensor<float>(worker, {static_cast<std::int64_t>(count)});
  }
  Tensor filled(WorkerId worker, const std::vector<float>& values) {
    const Tensor tensor = remote(worker, values.size());
    pod.copy_to(tensor, std::span(values));
    return tensor;
  }
  std::vector<float> read(const Tensor& tensor) {
    std::vector<float> values(tensor.size());
    pod.copy_from(tensor, std::span(values));
    return values;
  }

  RemoteHost a, b;
  Worker pod{{.level = 4}};
  const WorkerId left, right;
  Functions functions{pod};
};

class PeersByWayOfTheProgram : public Peers {
 protected:
  PeersByWayOfTheProgram() : Peers(false) {}
};

TEST_F(Peers, BytesGoFromHostToHost) {
  const std::vector<float> values = numbers(kMany);
  const Tensor x = filled(left, values);
  const Tensor y = remote(right, kMany);
  const std::uint64_t before = through_the_program(pod);
  pod.run([&](Orchestrator& orch) { orch.copy(y, x); });
  EXPECT_EQ(through_the_program(pod), before);
  EXPECT_EQ(read(y), values);
}

TEST_F(PeersByWayOfTheProgram, WhereTheSpecSaysSo) {
  const std::vector<float> values = numbers(kMany);
  const Tensor x = filled(left, values);
  const Tensor y = remote(right, kMany);
  const std::uint64_t before = through_the_program(pod);
  pod.run([&](Orchestrator& orch) { orch.copy(y, x); });
  EXPECT_EQ(through_the_program(pod) - before, 2 * kMany * sizeof(float));
  EXPECT_EQ(read(y), values);
}

TEST_F(Peers, BothWaysAndManyAtOnce) {
  std::vector<Tensor> there, back;
  const Tensor x = filled(left, numbers(1000));
  for (int i = 0; i < 20; ++i) {
    there.push_back(remote(right, 1000));
    back.push_back(remote(left, 1000));
  }
  pod.run([&](Orchestrator& orch) {
    for (std::size_t i = 0; i < there.size(); ++i) {
      orch.copy(there[i], x);
      orch.submit(functions.add_one, Args().inout(there[i]));
      orch.copy(back[i], there[i]);
    }
  });
  for (const Tensor& one : back) EXPECT_THAT(read(one), ElementsAreArray(numbers(1000, 2.0f)));
}

TEST_F(Peers, SlicesGoWhereTheyBelong) {
  const Tensor x = pod.remote_tensor<float>(left, {4, 6});
  const Tensor y = pod.remote_tensor<float>(right, {4, 6});
  const std::vector<float> values = numbers(24);
  pod.copy_to(x, std::span(values));
  pod.run([&](Orchestrator& orch) { orch.copy(y.slice(1, 2, 4), x.slice(1, 3, 5)); });
  std::vector<float> expected(24);
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t column : {2u, 3u}) {
      expected[6 * row + column] = static_cast<float>(6 * row + column + 1 + 1);
    }
  }
  EXPECT_EQ(read(y), expected);
}

TEST_F(Peers, ATaskGivenATensorOfAnotherHostHasItCopiedThere) {
  const std::vector<float> values = numbers(kMany);
  const Tensor x = filled(left, values);
  const std::uint64_t before = through_the_program(pod);
  pod.run([&](Orchestrator& orch) {
    orch.submit(functions.add_one, Args().inout(x), {.worker = right, .stage = Stage::kCopy});
  });
  EXPECT_EQ(through_the_program(pod), before);
  EXPECT_EQ(read(x), numbers(kMany, 2.0f));
}

TEST_F(Peers, AHostThatIsGoneIsAnErrorAndTheOtherGoesOn) {
  const Tensor x = filled(left, numbers(4));
  const Tensor y = remote(right, 4);
  pod.run([&](Orchestrator& orch) { orch.copy(y, x); });
  b.kill();
  const Error error = thrown<Error>([&] {
    pod.run([&](Orchestrator& orch) {
      for (;;) orch.copy(y, x).wait();
    });
  });
  EXPECT_THAT(error.path() + ": " + error.message(), HasSubstr("right"));
  EXPECT_THAT(read(x), ElementsAreArray(numbers(4)));
}

TEST_F(Peers, ALinkThatIsThereServesEveryCopyThatFollows) {
  const Tensor x = filled(left, numbers(4));
  const Tensor y = remote(right, 4);
  for (int i = 0; i < 50; ++i) {
    pod.run([&](Orchestrator& orch) { orch.copy(y, x); });
  }
  EXPECT_THAT(read(y), ElementsAreArray(numbers(4)));
}

// Whose sessions listen at sockets in a folder that goes away.
TEST(PeersApart, OneThatCannotReachTheOtherSaysWhichAndWhatToDo) {
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("peers" + std::to_string(::getpid()))).string();
  std::filesystem::create_directory(folder);
  RemoteHost a;
  DaemonConfig config = loopback();
  config.listen = "unix:" + folder + "/daemon";
  RemoteHost b(config);
  Worker pod({.level = 4});
  const WorkerId left = pod.add_remote_worker(a.spec("left"));
  const WorkerId right = pod.add_remote_worker(b.spec("right"));
  pod.start();
  std::filesystem::rename(folder, folder + ".gone");
  const Tensor x = pod.remote_tensor<float>(left, {4});
  const Tensor y = pod.remote_tensor<float>(right, {4});
  const Error error = thrown<Error>([&] { pod.run([&](Orchestrator& orch) { orch.copy(y, x); }); });
  EXPECT_THAT(error.message(), AllOf(HasSubstr("pod0/left could not reach pod0/right at unix:"),
                                     HasSubstr("direct_copies = false")));
  // The other way there is nothing in it.
  const std::vector<float> values = numbers(4);
  pod.copy_to(y, std::span(values));
  pod.run([&](Orchestrator& orch) { orch.copy(x, y); });
  std::vector<float> back(4);
  pod.copy_from(x, std::span(back));
  EXPECT_EQ(back, values);
  std::error_code gone_already;
  std::filesystem::remove_all(folder + ".gone", gone_already);
}

}  // namespace
}  // namespace echelon::remote_test
