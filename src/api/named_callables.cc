// SPDX-License-Identifier: Apache-2.0
#include "api/named_callables.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "api/names.h"
#include "base/digest.h"

namespace echelon::detail {
namespace {

/// Set while this thread loads a library: whose the functions are that are named meanwhile.
thread_local std::uint64_t loading_here = 0;

struct Named {
  const NamedCallable* object;
  TaskKind kind;
  std::string name;
  SubFunction sub;
  OrchFunction orch;
  std::uint64_t loading;                       // what was being loaded when it was made; 0: nothing
  std::weak_ptr<const LoadedLibrary> library;  // set once that has been loaded

  /// Its library was closed, and the loader may keep that for ever (what it defines uniquely for
  /// the process, for instance): nobody's any more.
  bool left_over() const { return loading != 0 && loading != loading_here && library.expired(); }
};

/// Of the process: static objects put themselves in before main(), and out after it.
struct Names {
  std::mutex mutex;
  std::vector<Named> all;
  std::map<Digest, std::weak_ptr<const LoadedLibrary>> libraries;  // by content
  std::vector<std::shared_ptr<const Payload>> stay;  // of libraries that the loader never closes
};
Names& names() {
  static Names* const kNames = std::make_unique<Names>().release();
  return *kNames;
}

void add(Named named) {
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  known.all.push_back(std::move(named));
}

std::string list_of(const Names& known, TaskKind kind) {
  std::vector<std::string> found;
  for (const Named& named : known.all) {
    if (named.kind == kind && !named.left_over()) found.push_back(named.name);
  }
  return names_text(std::move(found));
}

constexpr const char* macro_of(TaskKind kind) {
  return kind == TaskKind::kOrch ? "ECHELON_ORCH" : "ECHELON_SUB";
}

std::string path_of(const Payload& file) {
  return fmt::format("/proc/self/fd/{}", file.fd());
}

Status refuse(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kImage, std::move(message));
}

}  // namespace

NamedCallable::NamedCallable(const char* name, SubFunction fn) {
  add({this, TaskKind::kSub, name, std::move(fn), {}, loading_here, {}});
}

NamedCallable::NamedCallable(const char* name, OrchFunction fn) {
  add({this, TaskKind::kOrch, name, {}, std::move(fn), loading_here, {}});
}

NamedCallable::~NamedCallable() {
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  std::erase_if(known.all, [this](const Named& named) { return named.object == this; });
}

Result<NamedFunction> find_named(TaskKind kind, std::string_view name) {
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  const Named* found = nullptr;
  for (const Named& named : known.all) {
    if (named.kind != kind || named.name != name || named.left_over()) continue;
    if (found != nullptr) {
      return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                           fmt::format("two functions here are called {}(\"{}\"); names must be "
                                       "different within a program and its libraries",
                                       macro_of(kind), name));
    }
    found = &named;
  }
  if (found == nullptr) {
    return Status::error(Code::kNotFound, Reason::kBadArgument,
                         fmt::format("no function here is called {}(\"{}\"): {}", macro_of(kind),
                                     name, list_of(known, kind)));
  }
  NamedFunction function{found->library.lock(), found->sub, found->orch};
  if (found->loading != 0 && function.library == nullptr) {
    return Status::error(
        Code::kNotFound, Reason::kBadArgument,
        fmt::format("the library of {}(\"{}\") is being closed", macro_of(kind), name));
  }
  return function;
}

Result<std::shared_ptr<const LoadedLibrary>> LoadedLibrary::open(
    std::shared_ptr<const Payload> file, const std::string& name) {
  Names& known = names();
  const Digest content = sha256(file->bytes());
  {
    // The same content may be on its way out, or be used by functions that stay.
    const std::lock_guard lock(known.mutex);
    if (auto loaded = known.libraries[content].lock(); loaded != nullptr) return loaded;
  }
  static std::atomic<std::uint64_t> loads{0};
  const std::uint64_t mark = loads.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::string path = path_of(*file);
  loading_here = mark;
  void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* const why = handle == nullptr ? ::dlerror() : nullptr;
  loading_here = 0;
  if (handle == nullptr) {
    return refuse(fmt::format("the library {} cannot be loaded: {}", name,
                              why != nullptr ? why : "the loader does not say why"));
  }
  std::shared_ptr<const LoadedLibrary> library(new LoadedLibrary(std::move(file), content, handle));
  const std::lock_guard lock(known.mutex);
  std::string taken;
  for (Named& named : known.all) {
    if (named.loading != mark) continue;
    named.library = library;
    const bool twice = std::any_of(known.all.begin(), known.all.end(), [&](const Named& other) {
      return &other != &named && other.kind == named.kind && other.name == named.name &&
             !other.left_over();
    });
    if (twice) taken = named.name;
  }
  if (taken.empty()) {
    known.libraries[content] = library;
    std::erase_if(known.libraries, [](const auto& entry) { return entry.second.expired(); });
    return library;
  }
  return refuse(
      fmt::format("the library {} names a function \"{}\", as this process does already; "
                  "names must be different",
                  name, taken));
}

LoadedLibrary::~LoadedLibrary() {
  ::dlclose(handle_);
  // One with unique symbols - an inline variable of the standard library is enough - stays for
  // ever, and the loader knows it by its descriptor's number: that must not be given out again.
  const std::string path = path_of(*file_);
  void* const still = ::dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (still == nullptr) return;
  ::dlclose(still);
  Names& known = names();
  const std::lock_guard lock(known.mutex);
  known.stay.push_back(std::move(file_));
}

}  // namespace echelon::detail
