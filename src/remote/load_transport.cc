// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
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
      fmt::format(
          "there is no transport \"{}\": no {} in {}; it is built and installed with the "
          "library where gRPC is (libgrpc++-dev); $ECHELON_TRANSPORT_PATH may name its folder",
          name, file, fmt::join(looked_in, ", ")));
}

using Loaded = std::map<std::string, RemoteTransport*, std::less<>>;

Result<RemoteTransport*> open_transport(std::string_view name) {
  ECHELON_ASSIGN_OR_RETURN(const fs::path file, find_transport(name));
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const words = ::dlerror();
    return unloadable(file, words != nullptr ? words : "the loader does not say why");
  }
  const auto entry =
      reinterpret_cast<RemoteTransportEntry>(::dlsym(library, kRemoteTransportSymbol));
  if (entry == nullptr) {
    return unloadable(file, fmt::format("it does not export {}", kRemoteTransportSymbol));
  }
  RemoteTransport* const transport = entry(std::string(build_id()).c_str());
  if (transport == nullptr) {
    return unloadable(file,
                      "it is of another build than the library that loads it: install both "
                      "together");
  }
  return transport;
}

}  // namespace

Result<RemoteTransport*> load_transport(std::string_view name) {
  // Never unloaded, as its threads go on.
  static auto& loaded = *std::make_unique<Loaded>().release();
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (const auto found = loaded.find(name); found != loaded.end()) return found->second;
  ECHELON_ASSIGN_OR_RETURN(RemoteTransport* const transport, open_transport(name));
  loaded.emplace(name, transport);
  return transport;
}

Status LaneListener::expect_peer(std::string, std::uint64_t, std::chrono::nanoseconds) {
  return Status::error(Code::kUnimplemented, Reason::kBadArgument,
                       "lanes of this kind connect no sessions with each other");
}

}  // namespace echelon
