// SPDX-License-Identifier: Apache-2.0
//
// What is full: the disk that a daemon writes its log to, the one that keys are to be made on, a
// session's memory.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <vector>

#include "remote/faults/fault_net.h"
#include "remote/keys.h"
#include "tree/thrown.h"

namespace echelon::remote_test {
namespace {

using testing::HasSubstr;
using tree_test::eventually;
using tree_test::ForkedProcess;
using tree_test::thrown;

constexpr const char* kDisk = "/mnt";
constexpr const char* kLog = "/mnt/daemon.log";
constexpr const char* kBallast = "/mnt/ballast";

/// A small disk that this process and those it forks see at kDisk: 0, or an errno.
int mount_small_disk() {
  if (::unshare(CLONE_NEWNS) != 0) return errno;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno;
  return ::mount("tmpfs", kDisk, "tmpfs", 0, "size=64k") == 0 ? 0 : errno;
}

/// Until nothing more goes onto it.
int fill_disk() {
  const UniqueFd file(::open(kBallast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return errno;
  constexpr std::array<char, 4096> kZeros{};
  while (::write(file.get(), kZeros.data(), kZeros.size()) > 0) {}
  return errno == ENOSPC ? 0 : errno;
}

/// Standard error to a file on a full disk.
int log_to_a_full_disk() {
  if (const int error = mount_small_disk(); error != 0) return error;
  const UniqueFd log(::open(kLog, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log || ::dup2(log.get(), STDERR_FILENO) < 0) return errno;
  return fill_disk();
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What that process sees there.
std::string seen_by(pid_t pid, const char* path) {
  return "/proc/" + std::to_string(pid) + "/root" + path;
}

TEST(FullDisk, OfADaemonsLogEndsNothingAndTheLogGoesOnWithRoom) {
  FaultNet net(log_to_a_full_disk);
  SKIP_WITHOUT_NETWORK(net);
  const pid_t daemon = net.left().pid();
  {
    FaultPod tree(net.left_spec(), net.right_spec());
    EXPECT_EQ(tree.sub(tree.left).text(), "pod0/left/sub0");
  }
  EXPECT_THAT(read_file(seen_by(daemon, kLog)), testing::IsEmpty());
  ASSERT_EQ(::unlink(seen_by(daemon, kBallast).c_str()), 0);
  if (tree_test::sanitized()) return;  // cannot fork beside gRPC's threads
  FaultPod tree(net.left_spec(), net.right_spec());
  EXPECT_EQ(tree.sub(tree.left).text(), "pod0/left/sub0");
  tree.pod.close();
  EXPECT_TRUE(eventually([&] {
    return read_file(seen_by(daemon, kLog)).find("session 2 (pod0/left) ended") !=
           std::string::npos;
  })) << read_file(seen_by(daemon, kLog));
}

TEST(FullDisk, KeysAreMadeWholeOrNotAtAll) {
  ForkedProcess maker([](const ForkedProcess::Ready&) {
    constexpr int kNotPermitted = 77;
    if (mount_small_disk() != 0) ::_exit(kNotPermitted);
    const std::string authority = std::string(kDisk) + "/authority";
    if (!make_authority(authority).ok() || fill_disk() != 0) ::_exit(2);
    const auto refused = issue_host_keys({authority, "host", {}, ""});
    if (refused.ok()) ::_exit(3);
    if (refused.status().info().message.find("ENOSPC") == std::string::npos) ::_exit(4);
    std::error_code ignored;
    const std::filesystem::path out = authority + "/host";
    if (std::filesystem::exists(out, ignored) && !std::filesystem::is_empty(out)) ::_exit(5);
    ::unlink(kBallast);
    ::_exit(issue_host_keys({authority, "host", {}, ""}).ok() ? 0 : 6);
  });
  const int code = maker.wait_for_exit();
  if (code == 77) GTEST_SKIP() << "mount namespaces are not permitted here";
  EXPECT_EQ(code, 0);
}

TEST(FullPool, OfASessionIsAnErrorWithItsSizesAndEverythingGoesOn) {
  FaultNet net;
  SKIP_WITHOUT_NETWORK(net);
  RemoteWorkerSpec small = net.left_spec();
  small.memory_bytes_max = std::size_t{4} << 20;
  FaultPod tree(small, net.right_spec());
  const pid_t session = tree.where(tree.left).pid;
  const Tensor most = tree.pod.remote_tensor<float>(tree.left, {(3 << 20) / 4});
  const Error error =
      thrown<ResourceExhausted>([&] { tree.pod.remote_tensor<float>(tree.left, {(2 << 20) / 4}); });
  EXPECT_EQ(error.path(), "pod0/left");
  EXPECT_THAT(error.what(), HasSubstr("2 MiB are wanted"));
  EXPECT_THAT(error.what(), HasSubstr("3 MiB of 4 MiB"));
  tree.pod.run([&](Orchestrator& orch) {
    orch.submit(tree.functions.fill, Args().output(most).scalar(2.0f));
  });
  std::array<float, 4> first{};
  tree.pod.copy_from(most, std::as_writable_bytes(std::span(first)), 0);
  EXPECT_THAT(first, testing::Each(2.0f));
  EXPECT_EQ(tree.where(tree.left).pid, session);
  tree.pod.remote_tensor<float>(tree.right, {(2 << 20) / 4});
}

}  // namespace
}  // namespace echelon::remote_test
