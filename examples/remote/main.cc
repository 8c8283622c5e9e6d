// SPDX-License-Identifier: Apache-2.0
//
// The smallest program over two hosts: a pod here, a Worker there, its sub-worker below it.
//
//   there:  echelon daemon --listen ADDRESS --tls-dir KEYS --allow library
//   here:   echelon_remote libremote_callables.so ADDRESS [KEYS]
#include <echelon/echelon.h>
#include <echelon/remote.h>

#include <cstdio>
#include <exception>
#include <span>
#include <vector>

#include "steps.h"

namespace {

void run(const char* library, const char* address, const char* keys) {
  echelon::Worker pod({.level = 4, .name = "pod0"});
  const echelon::WorkerId host = pod.add_remote_worker(
      {.address = address, .name = "host0", .sub_workers = 1, .tls_dir = keys});
  pod.register_library(library);
  pod.register_sub("double");
  const auto on_the_host = pod.register_orch("on the host");
  pod.start();

  const std::vector<float> values{1, 2, 3, 4};
  auto x = pod.remote_tensor<float>(host, {4});
  pod.copy_to(x, std::span(values));
  std::printf("pod0 submits \"on the host\" to %s\n", address);
  const Steps steps = pod.run([&](echelon::Orchestrator& orch) {
    return orch.submit(on_the_host, echelon::Args().inout(x)).result<Steps>();
  });
  std::printf("%s submits \"double\" to its own sub-worker\n", steps.orchestrator.data());
  std::printf("%s runs it\n", steps.sub_worker.data());
  std::printf("by return value: %g\n", steps.sum);
  std::vector<float> doubled(4);
  pod.copy_from(x, std::span(doubled));
  std::printf("by copy_from:");
  for (const float value : doubled) std::printf(" %g", static_cast<double>(value));
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s libremote_callables.so ADDRESS [KEYS]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], argc > 3 ? argv[3] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
