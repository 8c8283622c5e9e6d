// SPDX-License-Identifier: Apache-2.0
#include "remote/ucx/ucx_context.h"

#include <fmt/format.h>
#include <ucm/api/ucm.h>
#include <ucs/config/global_opts.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <utility>

namespace echelon {
namespace {

struct Setting {
  const char* name;
  const char* value;
};

/// Of a context. TCP and what RDMA devices there are; not shared memory, which UCX opens by name.
constexpr std::array kSettings = {
    Setting{"TLS", "tcp,ib"},
    // The device that the connection came over, not every one of the machine.
    Setting{"CM_USE_ALL_DEVICES", "n"},
    // It would patch mmap() and its like, and nothing here is registered twice.
    Setting{"RCACHE_ENABLE", "n"},
    // A dead peer is noticed though nothing is sent.
    Setting{"TCP_KEEPIDLE", "5s"},
    Setting{"TCP_KEEPINTVL", "1s"},
    Setting{"TCP_KEEPCNT", "5"},
};

bool user_has_set(const std::string& name) {
  return std::getenv(("UCX_" + name).c_str()) != nullptr;
}

/// What UCX would do to the process around it.
void leave_process_alone() {
  // What fails is told to callers, as errors; UCX's lines are for those who ask for them.
  if (!user_has_set("LOG_LEVEL")) ucs_global_opts_set_value("LOG_LEVEL", "fatal");
  if (!user_has_set("WARN_UNUSED_ENV_VARS")) ucs_global_opts_set_value("WARN_UNUSED_ENV_VARS", "n");
  if (user_has_set("MEM_EVENTS") || user_has_set("MEM_MMAP_HOOK_MODE")) return;
  ucm_global_config_t memory{};  // no events, so no hooks
  memory.log_level = UCS_LOG_LEVEL_FATAL;
  // Not UCM_MMAP_HOOK_NONE, with which UCX 1.13 calls itself for ever once somebody wants events.
  memory.mmap_hook_mode = UCM_MMAP_HOOK_BISTRO;
  memory.alloc_alignment = alignof(std::max_align_t);
  ucm_set_global_opts(&memory);
}

Result<ucp_context_h> make_context() {
  leave_process_alone();
  ucp_config_t* config = nullptr;
  if (const ucs_status_t status = ucp_config_read(nullptr, nullptr, &config); status != UCS_OK) {
    return ucx_error(status, "reading UCX's configuration");
  }
  for (const Setting& setting : kSettings) {
    // An older or newer UCX may not know one: it then goes by its own.
    if (!user_has_set(setting.name)) ucp_config_modify(config, setting.name, setting.value);
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "echelon";
  ucp_context_h context = nullptr;
  const ucs_status_t status = ucp_init(&params, config, &context);
  ucp_config_release(config);
  if (status != UCS_OK) return ucx_error(status, "starting UCX");
  return context;
}

}  // namespace

Result<ucp_context_h> ucx_context() {
  static std::mutex mutex;
  static ucp_context_h context = nullptr;  // never cleaned up: lanes close as long as it runs
  const std::lock_guard lock(mutex);
  if (context == nullptr) {
    const SignalsBlocked blocked;
    ECHELON_ASSIGN_OR_RETURN(context, make_context());
  }
  return context;
}

Status ucx_error(ucs_status_t status, std::string_view call) {
  return Status::error(Code::kUnavailable, Reason::kSystem,
                       fmt::format("{}: {}", call, ucs_status_string(status)));
}

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace echelon
