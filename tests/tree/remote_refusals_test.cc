// SPDX-License-Identifier: Apache-2.0
//
// What add_remote_worker() refuses, at once and with which words, and that ids count together with
// those of local Workers.
#include <echelon/echelon.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <string>

#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;

RemoteWorkerSpec spec(const std::string& name = "host1") {
  RemoteWorkerSpec given;
  given.address = "127.0.0.1:7411";
  given.name = name;
  return given;
}

/// What a pod says to a spec that `change` has spoilt.
void expect_refused(const std::function<void(RemoteWorkerSpec&)>& change, Reason reason,
                    const testing::Matcher<std::string>& words) {
  Worker pod({.level = 4});
  RemoteWorkerSpec given = spec();
  change(given);
  const Error error = thrown<InvalidArgument>([&] { pod.add_remote_worker(given); });
  EXPECT_EQ(error.reason(), reason) << error.what();
  EXPECT_THAT(error.message(), words);
  // Nothing is left of it.
  EXPECT_EQ(pod.add_remote_worker(spec()), WorkerId{0});
}

TEST(AddRemoteWorker, IdsCountTogetherWithLocalWorkers) {
  Worker pod({.level = 4, .sub_workers = 2});
  Worker near({.level = 3, .name = "near"});
  EXPECT_EQ(pod.add_remote_worker(spec("far")), WorkerId{2});
  EXPECT_EQ(pod.add_worker(near), WorkerId{3});
  EXPECT_EQ(pod.add_remote_worker(spec("farther")), WorkerId{4});
}

TEST(AddRemoteWorker, ThePlannedTreeShowsIt) {
  Worker pod({.level = 4});
  RemoteWorkerSpec given = spec();
  given.sub_workers = 1;
  given.chips = {{"cpu", 0}};
  pod.add_remote_worker(given);
  EXPECT_THAT(pod.describe(), AllOf(HasSubstr("host1"), HasSubstr("sub0"), HasSubstr("chip0")));
}

TEST(AddRemoteWorker, NeedsALevelAboveAHost) {
  Worker host({.level = 3});
  const Error error = thrown<InvalidArgument>([&] { host.add_remote_worker(spec()); });
  EXPECT_EQ(error.reason(), Reason::kWrongLevel);
  EXPECT_EQ(error.message(),
            "add_remote_worker: host0 is at level 3; Workers below it need level 4 or more");
}

TEST(AddRemoteWorker, TheLevelIsBelowTheParents) {
  for (const int level : {2, 4, 5}) {
    expect_refused([&](RemoteWorkerSpec& given) { given.level = level; }, Reason::kWrongLevel,
                   "add_remote_worker: host1 is at level " + std::to_string(level) +
                       "; below pod0 (level 4) belong levels 3 to 3");
  }
}

TEST(AddRemoteWorker, TheNameIsGivenAndUnique) {
  expect_refused([](RemoteWorkerSpec& given) { given.name.clear(); }, Reason::kBadArgument,
                 "add_remote_worker: the name is empty; give it one");
  expect_refused([](RemoteWorkerSpec& given) { given.name = "a/b"; }, Reason::kBadArgument,
                 HasSubstr("\"a/b\""));
  Worker pod({.level = 4});
  Worker near({.level = 3, .name = "host1"});
  pod.add_worker(near);
  const Error error = thrown<InvalidArgument>([&] { pod.add_remote_worker(spec("host1")); });
  EXPECT_THAT(error.message(), HasSubstr("pod0 has a child called host1 already"));
}

TEST(AddRemoteWorker, AnAddressSaysWhatOneLooksLike) {
  for (const char* address : {"", "host", "host:", "host:99999", "::1:80", ":80", "unix:"}) {
    expect_refused([&](RemoteWorkerSpec& given) { given.address = address; }, Reason::kBadArgument,
                   HasSubstr("HOST:PORT, [V6]:PORT or unix:/PATH"));
  }
}

TEST(AddRemoteWorker, AnotherHostNeedsTlsOrInsecure) {
  expect_refused([](RemoteWorkerSpec& given) { given.address = "10.1.2.3:7411"; },
                 Reason::kBadArgument,
                 AllOf(HasSubstr("10.1.2.3:7411"), HasSubstr("tls_dir"), HasSubstr("insecure")));
  Worker pod({.level = 4});
  RemoteWorkerSpec given = spec();
  given.address = "10.1.2.3:7411";
  given.insecure = true;
  EXPECT_EQ(pod.add_remote_worker(given), WorkerId{0});
}

TEST(AddRemoteWorker, TlsAndInsecureExcludeEachOther) {
  expect_refused(
      [](RemoteWorkerSpec& given) {
        given.tls_dir = "/tmp";
        given.insecure = true;
      },
      Reason::kBadArgument, HasSubstr("tls_dir and insecure exclude each other"));
}

TEST(AddRemoteWorker, ATlsDirHasItsThreeFiles) {
  const std::string empty = testing::TempDir() + "no_keys";
  std::filesystem::create_directories(empty);
  expect_refused([&](RemoteWorkerSpec& given) { given.tls_dir = empty; }, Reason::kBadArgument,
                 AllOf(HasSubstr(empty), HasSubstr("ca.pem"), HasSubstr("echelon keys issue")));
  std::filesystem::remove(empty);
}

TEST(AddRemoteWorker, ALaneIsOneOfThoseThatAreThere) {
  expect_refused([](RemoteWorkerSpec& given) { given.lane = "pigeon"; }, Reason::kBadArgument,
                 HasSubstr("there is no lane \"pigeon\" here; \"grpc\" and \"auto\" are there"));
}

TEST(AddRemoteWorker, TimesFitTogether) {
  expect_refused([](RemoteWorkerSpec& given) { given.health_deadline = 11s; }, Reason::kBadArgument,
                 HasSubstr("health_deadline of 11000 ms"));
  expect_refused([](RemoteWorkerSpec& given) { given.health_deadline = 0ms; }, Reason::kBadArgument,
                 HasSubstr("100 ms <= health_deadline"));
  expect_refused([](RemoteWorkerSpec& given) { given.connect_timeout = 0ms; }, Reason::kBadArgument,
                 HasSubstr("no time to connect in"));
  expect_refused([](RemoteWorkerSpec& given) { given.connect_timeout = 25h; }, Reason::kBadArgument,
                 HasSubstr("connect_timeout of 90000000 ms; at most 86400000 ms"));
}

TEST(AddRemoteWorker, ItsPartsAreCheckedLikeALocalOnes) {
  expect_refused([](RemoteWorkerSpec& given) { given.sub_workers = 257; }, Reason::kBadArgument,
                 HasSubstr("257 sub-workers"));
  Worker cluster({.level = 5});
  RemoteWorkerSpec given = spec("pod");
  given.level = 4;
  given.chips = {{"cpu", 0}};
  EXPECT_EQ(thrown<InvalidArgument>([&] { cluster.add_remote_worker(given); }).reason(),
            Reason::kWrongLevel);
}

TEST(AddRemoteWorker, NotWhileTheTreeRuns) {
  Worker pod({.level = 4, .sub_workers = 1});
  pod.start();
  const Error error = thrown<WrongState>([&] { pod.add_remote_worker(spec()); });
  EXPECT_THAT(error.message(), HasSubstr("add_remote_worker: pod0 is running"));
}

TEST(RemoteTensor, NeedsARemoteWorker) {
  Worker pod({.level = 4, .sub_workers = 1});
  pod.start();
  const Error error =
      thrown<InvalidArgument>([&] { pod.remote_tensor(pod.sub_worker(0), {4}, DType::kFloat32); });
  EXPECT_EQ(error.message(),
            "remote_tensor: child 0 of pod0 is not remote; add_remote_worker() gives the ids of "
            "those that are");
}

TEST(RemoteTensor, CopiesAreBetweenTheProgramAndRemoteMemory) {
  Worker pod({.level = 4, .sub_workers = 1});
  pod.start();
  const Tensor here = pod.tensor<float>({4});
  std::array<std::byte, 16> bytes{};
  EXPECT_THAT(
      thrown<InvalidArgument>([&] { pod.copy_to(here, bytes); }).message(),
      HasSubstr(
          "is not in a remote Worker's memory; use data(), in Python array(), or orch.copy()"));
  EXPECT_THAT(thrown<InvalidArgument>([&] { pod.copy_from(Tensor(), bytes); }).message(),
              HasSubstr("copy_from: the tensor is empty"));
}

}  // namespace
}  // namespace echelon::tree_test
