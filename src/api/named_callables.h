// SPDX-License-Identifier: Apache-2.0
//
// The functions that this process knows by name (echelon/callable.h), and the libraries that bring
// more of them.
//
// Threads: safe. Blocking: loading a library reads it and runs its initialisers.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <echelon/callable.h>

#include "api/callables.h"
#include "base/digest.h"
#include "base/status.h"
#include "process/payload.h"

namespace echelon::detail {

/// A shared object that was loaded by content: closed with its last owner, its descriptor kept
/// until then, as dlopen() would take another file behind the same number for this one.
class LoadedLibrary {
 public:
  /// Errors (kImage): the loader's own words; a function of it has a name that is taken here.
  static Result<std::shared_ptr<const LoadedLibrary>> open(std::shared_ptr<const Payload> file,
                                                           const std::string& name);
  ~LoadedLibrary();
  const std::shared_ptr<const Payload>& file() const { return file_; }
  /// SHA-256 of it.
  const Digest& digest() const { return digest_; }
  LoadedLibrary(const LoadedLibrary&) = delete;
  LoadedLibrary& operator=(const LoadedLibrary&) = delete;

 private:
  LoadedLibrary(std::shared_ptr<const Payload> file, const Digest& digest, void* handle)
      : file_(std::move(file)), digest_(digest), handle_(handle) {}

  std::shared_ptr<const Payload> file_;
  const Digest digest_;
  void* handle_;
};

/// The function of this name as a callable of `kind` (sub or orch); `library` is what it is
/// from, if it is from one. Errors (kBadArgument): there is none, and which there are; two have it.
struct NamedFunction {
  std::shared_ptr<const LoadedLibrary> library;
  SubFunction sub;
  OrchFunction orch;
};
Result<NamedFunction> find_named(TaskKind kind, std::string_view name);

}  // namespace echelon::detail
