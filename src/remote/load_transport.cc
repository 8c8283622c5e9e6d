// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include "base/build_id.h"
#include "base/install_folders.h"
#include "remote/transport.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

Status unloadable(const fs::path& file, std::string_view why) {
  return Status::error(Code::kFailedPrecondition, Reason::kSystem,
                       fmt::format("the transport {} does not load: {}", file.string(), why));
}

Result<fs::path> find_transport(std::string_view name) {
  std::vector<fs::path> folders = library_folders("echelon");
  // For an installation that was taken apart.
  if (const char* own = std::getenv("ECHELON_TRANSPORT_PATH"); own != nullptr && *own != '\0') {
    folders = {own};
  }
  const bool is_word = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  const std::string file = fmt::format("libechelon_{}.so", name);
  std::vector<std::string> looked_in;
  for (const fs::path& folder : folders) {
    std::error_code error;
    if (is_word && fs::is_regular_file(folder / file, error)) return folder / file;
    if (std::find(looked_in.begin(), looked_in.end(), folder.string()) == looked_in.end()) {
      looked_in.push_back(folder.string());
    }
  }
  return Status::error(
      Code::kNotFound, Reason::kSystem,
      fmt::format("there is no transport \"{}\": no {} in {}; it is built and installed with the "
                  "library where {} is; $ECHELON_TRANSPORT_PATH may name its folder",
                  name, file, fmt::join(looked_in, ", "),
                  name == "ucx" ? "UCX (libucx-dev)" : "gRPC (libgrpc++-dev)"));
}

/// What a library that is loaded does to signals is undone: UCX takes crashes for itself.
class SignalHandlersKept {
 public:
  SignalHandlersKept() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], nullptr, &before_[i]);
    }
  }
  ~SignalHandlersKept() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
  }
  SignalHandlersKept(const SignalHandlersKept&) = delete;
  SignalHandlersKept& operator=(const SignalHandlersKept&) = delete;

 private:
  static constexpr std::array kSignals = {SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};
  std::array<struct sigaction, kSignals.size()> before_{};
};

template <class Transport>
struct Loaded {
  std::mutex mutex;
  std::map<std::string, Transport*, std::less<>> by_name;  // guarded by mutex
};

template <class Transport>
Result<Transport*> open_transport(std::string_view name, const char* symbol) {
  ECHELON_ASSIGN_OR_RETURN(const fs::path file, find_transport(name));
  const SignalHandlersKept kept;
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const words = ::dlerror();
    return unloadable(file, words != nullptr ? words : "the loader does not say why");
  }
  const auto entry = reinterpret_cast<Transport* (*)(const char*)>(::dlsym(library, symbol));
  if (entry == nullptr) {
    return unloadable(file, fmt::format("it does not export {}", symbol));
  }
  Transport* const transport = entry(std::string(build_id()).c_str());
  if (transport == nullptr) {
    return unloadable(file,
                      "it is of another build than the library that loads it: install both "
                      "together");
  }
  return transport;
}

template <class Transport>
Result<Transport*> load_once(std::string_view name, const char* symbol) {
  // Never unloaded, as its threads go on.
  static auto& loaded = *std::make_unique<Loaded<Transport>>().release();
  const std::lock_guard lock(loaded.mutex);
  if (const auto found = loaded.by_name.find(name); found != loaded.by_name.end()) {
    return found->second;
  }
  ECHELON_ASSIGN_OR_RETURN(Transport* const transport, open_transport<Transport>(name, symbol));
  loaded.by_name.emplace(name, transport);
  return transport;
}

}  // namespace

Result<RemoteTransport*> load_transport(std::string_view name) {
  return load_once<RemoteTransport>(name, kRemoteTransportSymbol);
}

Result<LaneTransport*> load_lanes(std::string_view name) {
  if (name != "grpc") return load_once<LaneTransport>(name, kLaneTransportSymbol);
  ECHELON_ASSIGN_OR_RETURN(RemoteTransport* const transport, load_transport(name));
  return transport;
}

Status LaneListener::expect_peer(std::string, std::uint64_t, std::chrono::nanoseconds) {
  return Status::error(Code::kUnimplemented, Reason::kBadArgument,
                       "lanes of this kind connect no sessions with each other");
}

}  // namespace echelon
