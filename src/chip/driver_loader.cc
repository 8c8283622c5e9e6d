// SPDX-License-Identifier: Apache-2.0
#include "chip/driver_loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/install_folders.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFilePrefix = "libechelon_driver_";
constexpr std::string_view kFileSuffix = ".so";

Status driver_error(Code code, std::string message) {
  return Status::error(code, Reason::kDriver, std::move(message));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::vector<fs::path> driver_folders() {
  std::vector<fs::path> folders;
  const std::string list = environment("ECHELON_DRIVER_PATH");
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    if (end != at) folders.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  for (fs::path& folder : library_folders("echelon/drivers")) folders.push_back(std::move(folder));
  return folders;
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::vector<std::string> to_strings(const std::vector<fs::path>& paths) {
  std::vector<std::string> texts;
  for (const fs::path& path : paths) {
    if (std::find(texts.begin(), texts.end(), path.string()) == texts.end()) {
      texts.push_back(path.string());
    }
  }
  return texts;
}

/// Entries of `table` that this version requires and that are missing.
std::vector<std::string> missing_entries(const echelon_chip_driver_v1& table) {
  std::vector<std::string> missing;
  const auto require = [&missing](bool there, const char* name) {
    if (!there) missing.emplace_back(name);
  };
  require(table.device_count != nullptr, "device_count");
  require(table.open != nullptr, "open");
  require(table.close != nullptr, "close");
  require(table.device_info != nullptr, "device_info");
  require(table.allocate != nullptr, "allocate");
  require(table.free != nullptr, "free");
  require(table.copy_in != nullptr, "copy_in");
  require(table.copy_out != nullptr, "copy_out");
  require(table.fill != nullptr, "fill");
  require(table.load_image != nullptr, "load_image");
  require(table.unload_image != nullptr, "unload_image");
  require(table.find_kernel != nullptr, "find_kernel");
  require(table.launch != nullptr, "launch");
  require(table.poll != nullptr, "poll");
  require(table.wait != nullptr, "wait");
  require(table.fault != nullptr, "fault");
  require(table.health != nullptr, "health");
  return missing;
}

}  // namespace

Result<ChipDriver> ChipDriver::load(std::string_view name) {
  ECHELON_ASSIGN_OR_RETURN(const std::string file, find_driver(name));
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* text = ::dlerror();
    return driver_error(Code::kFailedPrecondition,
                        fmt::format("chip driver '{}' does not load: {}", name,
                                    text != nullptr ? text : file.c_str()));
  }
  const auto entry = reinterpret_cast<echelon_chip_driver_get_function>(
      ::dlsym(library, ECHELON_CHIP_DRIVER_ENTRY));
  if (entry == nullptr) {
    ::dlclose(library);
    return driver_error(Code::kFailedPrecondition,
                        fmt::format("{} is no chip driver: it does not export {}", file,
                                    ECHELON_CHIP_DRIVER_ENTRY));
  }
  return from_table(entry(ECHELON_CHIP_DRIVER_ABI), file);
}

Result<ChipDriver> ChipDriver::from_table(const echelon_chip_driver_v1* table, std::string where) {
  if (table == nullptr) {
    return driver_error(Code::kFailedPrecondition,
                        fmt::format("chip driver {} returned no table", where));
  }
  // Of a table of another version nothing but the version may be read.
  if (table->abi_version != ECHELON_CHIP_DRIVER_ABI) {
    return driver_error(
        Code::kFailedPrecondition,
        fmt::format("chip driver {} has driver ABI version {}; this runtime has version {}", where,
                    table->abi_version, ECHELON_CHIP_DRIVER_ABI));
  }
  // An older table is shorter: what it does not reach is null.
  auto copy = std::make_shared<echelon_chip_driver_v1>();
  *copy = {};
  std::copy_n(reinterpret_cast<const std::byte*>(table),
              std::min<std::size_t>(table->struct_size, sizeof *copy),
              reinterpret_cast<std::byte*>(copy.get()));
  if (const auto missing = missing_entries(*copy); !missing.empty()) {
    return driver_error(Code::kFailedPrecondition,
                        fmt::format("chip driver {} lacks {} (its table has {} bytes)", where,
                                    fmt::join(missing, ", "), table->struct_size));
  }
  ChipDriver driver;
  driver.table_ = std::move(copy);
  driver.where_ = std::move(where);
  return driver;
}

Result<std::string> find_driver(std::string_view name) {
  const std::vector<std::string> known = known_drivers();
  const std::string drivers = known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "));
  if (name.find('/') != std::string_view::npos) {
    if (is_file(name)) return std::string(name);
    return driver_error(Code::kNotFound, fmt::format("chip driver '{}': there is no such file; "
                                                     "drivers known by name: {}",
                                                     name, drivers));
  }
  const std::string file = fmt::format("{}{}{}", kFilePrefix, name, kFileSuffix);
  const std::vector<fs::path> folders = driver_folders();
  for (const fs::path& folder : folders) {
    if (!name.empty() && is_file(folder / file)) return (folder / file).string();
  }
  return driver_error(Code::kNotFound,
                      fmt::format("unknown chip driver '{}': no {} in {}; drivers that exist: {}",
                                  name, file, fmt::join(to_strings(folders), ", "), drivers));
}

std::vector<std::string> known_drivers() {
  std::vector<std::string> names;
  for (const fs::path& folder : driver_folders()) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
      const std::string file = entry.path().filename().string();
      if (!file.starts_with(kFilePrefix) || !file.ends_with(kFileSuffix)) continue;
      names.push_back(
          file.substr(kFilePrefix.size(), file.size() - kFilePrefix.size() - kFileSuffix.size()));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::string> find_chip_executable() {
  std::vector<fs::path> places;
  if (const std::string folder = environment("ECHELON_LIBEXEC"); !folder.empty()) {
    places.emplace_back(fs::path(folder) / "chip");
  } else {
    for (const fs::path& prefix : install_prefixes())
      places.push_back(prefix / "libexec/echelon/chip");
  }
  for (const fs::path& place : places) {
    if (is_file(place) && ::access(place.c_str(), X_OK) == 0) return place.string();
  }
  return Status::error(
      Code::kNotFound, Reason::kStartFailed,
      fmt::format(
          "the executable of chip processes is not at {}; set ECHELON_LIBEXEC to its folder",
          fmt::join(to_strings(places), " or ")));
}

Result<std::string> find_include_folder() {
  std::vector<fs::path> places;
  if (const std::string folder = environment("ECHELON_INCLUDE"); !folder.empty()) {
    places.emplace_back(folder);
  } else {
    for (const fs::path& prefix : install_prefixes()) places.push_back(prefix / "include");
#ifdef ECHELON_SOURCE_INCLUDE
    // A build tree holds no headers of its own; an installation finds its own before this one.
    places.emplace_back(ECHELON_SOURCE_INCLUDE);
#endif
  }
  for (const fs::path& place : places) {
    if (is_file(place / "echelon/chip_kernel.h")) return place.string();
  }
  return Status::error(
      Code::kNotFound, Reason::kImage,
      fmt::format(
          "echelon/chip_kernel.h is not in {}; set ECHELON_INCLUDE to the folder that holds "
          "echelon/",
          fmt::join(to_strings(places), " or ")));
}

}  // namespace echelon
