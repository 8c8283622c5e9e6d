// SPDX-License-Identifier: Apache-2.0
//
// A program at the top of a tree, for tests/cli/daemon_test.py: a pod with one remote host.
//   remote_parent ADDRESS [TLS_DIR]
// Says "started" and waits for a line on standard input, then closes. What goes wrong goes to
// standard error, exit code 1.
#include <echelon/echelon.h>
#include <echelon/remote.h>

#include <chrono>
#include <cstdio>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  try {
    echelon::Worker pod({.level = 4, .start_deadline = 20s});
    echelon::RemoteWorkerSpec host;
    host.address = argc > 1 ? argv[1] : "";
    host.name = "host0";
    host.sub_workers = 1;
    host.tls_dir = argc > 2 ? argv[2] : "";
    host.connect_timeout = 5s;
    pod.add_remote_worker(host);
    pod.start();
    std::puts("started");
    std::fflush(stdout);
    std::getchar();
    pod.close();
  } catch (const echelon::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
