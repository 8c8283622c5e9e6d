// SPDX-License-Identifier: Apache-2.0
//
// libexec/echelon/chip: the process of one chip. Started by spawners, never by hand.
#include <cstdio>
#include <span>
#include <utility>

#include "chip/chip_process.h"
#include "process/child_boot.h"

int main(int argc, char** argv) {
  auto boot = echelon::enter_exec_child(std::span(argv, static_cast<std::size_t>(argc)));
  if (!boot.ok()) {
    std::fprintf(stderr, "%s\n", boot.status().info().message.c_str());
    return 1;
  }
  echelon::leave_child(echelon::run_chip(std::move(boot).value()));
}
