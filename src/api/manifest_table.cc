// SPDX-License-Identifier: Apache-2.0
#include "api/manifest_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "api/chip_image_state.h"
#include "api/named_callables.h"
#include "api/shipped_callable.h"
#include "api/throw_status.h"
#include "base/syscall.h"
#include "chip/image_push.h"
#include "process/registration_codec.h"

namespace echelon::detail {
namespace {

using embedding::Form;

RegisteredKind registered_kind(TaskKind kind) {
  return kind == TaskKind::kOrch   ? RegisteredKind::kOrch
         : kind == TaskKind::kChip ? RegisteredKind::kChip
                                   : RegisteredKind::kSub;
}

std::shared_ptr<const Payload> text_payload(std::string_view text) {
  return Payload::small(std::as_bytes(std::span(text.substr(0, kInlinePayloadMax))));
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// --- the parent ---------------------------------------------------------------------------------

std::string captured_refusal(const Callable& callable) {
  const char* const kind = callable.kind == TaskKind::kOrch ? "ORCH" : "SUB";
  return fmt::format(
      "\"{0}\" was registered before start() as a function with what it captured, and that exists "
      "in the program's process alone; for a Worker on another host, name it by ECHELON_{1} in a "
      "library, then register_library() and register_{2}(\"{0}\"), or register it by name in the "
      "running tree",
      callable.name, kind, spelling(callable.kind));
}

/// What its language makes of it for another host.
Status pack(const Callable& callable, ManifestCallable& out) {
  embedding::Packed packed;
  try {
    packed = callable.pack();
  } catch (...) {
    out.payload = text_payload(fmt::format("\"{}\" cannot run on another host: {}", callable.name,
                                           current_exception_info().message));
    return {};
  }
  if (packed.form != Form::kPickle && packed.form != Form::kImportPath) {
    return Status::error(
        Code::kInvalidArgument, Reason::kBadArgument,
        fmt::format("\"{}\" was packed neither as an import path nor as serialised bytes",
                    callable.name));
  }
  out.form = packed.form;
  ECHELON_ASSIGN_OR_RETURN(out.payload, Payload::make(packed.payload));
  return {};
}

Status describe_for(const Callable& callable, ManifestCallable& out) {
  out.form = callable.form;
  out.payload = callable.payload;
  if (callable.form == Form::kImage) {
    const KernelImage& image = callable.image->image;
    ECHELON_ASSIGN_OR_RETURN(UniqueFd file, duplicate_fd(image.descriptor()));
    ECHELON_ASSIGN_OR_RETURN(out.payload, Payload::open(std::move(file), image.file_bytes()));
  } else if (callable.form == Form::kInherited && callable.pack) {
    ECHELON_RETURN_IF_ERROR(pack(callable, out));
  } else if (callable.form == Form::kInherited && callable.payload == nullptr) {
    out.payload = text_payload(captured_refusal(callable));
  }
  out.digest = sha256(out.payload->bytes());
  return {};
}

Status check_sizes(const SessionManifest& manifest) {
  std::uint64_t bytes = 0;
  for (const ManifestLibrary& library : manifest.libraries)
    bytes += library.payload->bytes().size();
  for (const ManifestCallable& callable : manifest.callables) {
    bytes += callable.payload->bytes().size();
  }
  if (manifest.callables.size() <= kManifestCallablesMax && bytes <= kManifestBytesMax) return {};
  return Status::error(
      Code::kInvalidArgument, Reason::kTooLarge,
      fmt::format("{} callables and libraries of {} bytes for a Worker on another host; at most {} "
                  "and {} bytes are possible, and what is registered in the running tree does not "
                  "count",
                  manifest.callables.size(), bytes, kManifestCallablesMax, kManifestBytesMax));
}

// --- the session --------------------------------------------------------------------------------

Status damaged(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame, "session manifest: " + std::move(what));
}

/// What a table of a session's refers to, in the order in which it is made.
struct MadeTable {
  std::vector<std::shared_ptr<const LoadedLibrary>> libraries;
  std::vector<std::unique_ptr<Registrations>> workers;
  CallableTable table;
};

Status load_libraries(const SessionManifest& manifest, MadeTable& made) {
  for (const ManifestLibrary& library : manifest.libraries) {
    if (library.payload == nullptr || sha256(library.payload->bytes()) != library.digest) {
      return damaged(fmt::format("the library {} is not what its digest says", library.name));
    }
    ECHELON_ASSIGN_OR_RETURN(
        auto file,
        Payload::make_file(library.payload->bytes(), MemfdUse::kExecutable, PayloadFork::kKept));
    ECHELON_ASSIGN_OR_RETURN(auto loaded, LoadedLibrary::open(std::move(file), library.name));
    made.libraries.push_back(std::move(loaded));
  }
  return {};
}

Status make_image(const ManifestCallable& given, Callable& callable) {
  if (given.form != Form::kImage) {
    return damaged(fmt::format("the chip callable \"{}\" has no image", given.name));
  }
  ECHELON_ASSIGN_OR_RETURN(const ImageFileView view, read_image_file(given.payload->bytes()));
  ECHELON_ASSIGN_OR_RETURN(auto image, KernelImage::from_bytes(view.image, std::string(view.kernel),
                                                               "of " + given.name));
  callable.image = std::make_shared<const ChipImageState>(ChipImageState{std::move(image)});
  callable.form = Form::kImage;
  return {};
}

/// A function by its name or by its language.
void make_function(const ManifestCallable& given, const embedding::Language* language,
                   Callable& callable) {
  RegisterRequest request;
  request.kind = given.kind;
  request.form = given.form;
  request.name = given.name;
  request.payload = given.payload;
  request.digest = given.digest;
  auto function = make_callable(request, language);
  if (!function.ok()) {
    return refuse_calls(callable, fmt::format("\"{}\" cannot run on this host: {}", given.name,
                                              function.status().info().message));
  }
  callable.library = std::move(function->library);
  callable.sub = std::move(function->sub);
  callable.orch = std::move(function->orch);
}

Result<Callable> make_one(const ManifestCallable& given, const embedding::Language* language) {
  if (given.kind != RegisteredKind::kSub && given.kind != RegisteredKind::kOrch &&
      given.kind != RegisteredKind::kChip) {
    return damaged(fmt::format("\"{}\" is of no kind that can be called", given.name));
  }
  if (given.name.size() > kCallableNameBytesMax) {
    return damaged(fmt::format("a callable's name of {} bytes", given.name.size()));
  }
  // Of an inherited one it is a text for people.
  const bool inherited = given.form == Form::kInherited;
  if (given.payload == nullptr && !inherited) {
    return damaged(fmt::format("\"{}\" comes without what it is made from", given.name));
  }
  if (!inherited && sha256(given.payload->bytes()) != given.digest) {
    return damaged(fmt::format("what \"{}\" is made from is not what its digest says", given.name));
  }
  Callable callable;
  callable.kind = task_kind(given.kind);
  callable.name = given.name;
  // As it came, for sessions below this one.
  callable.form = given.form;
  callable.payload = given.payload;
  if (given.kind == RegisteredKind::kChip) {
    ECHELON_RETURN_IF_ERROR(make_image(given, callable));
  } else if (given.form == Form::kInherited) {
    const std::string_view why = given.payload != nullptr ? text_of(given.payload->bytes()) : "";
    refuse_calls(callable, why.empty() ? captured_refusal(callable) : std::string(why));
  } else if (given.form == Form::kName || given.form == Form::kPickle ||
             given.form == Form::kImportPath) {
    make_function(given, language, callable);
  } else {
    return damaged(fmt::format("\"{}\" is no function in form {}", given.name,
                               static_cast<unsigned>(given.form)));
  }
  return callable;
}

/// A place for the callables of each Worker, in the order in which slots are counted.
Status make_workers(const SessionManifest& manifest, MadeTable& made) {
  std::vector<std::uint64_t> owners = manifest.workers;
  if (owners.empty()) {
    for (const ManifestCallable& callable : manifest.callables) {
      if (owners.empty() || owners.back() != callable.owner) owners.push_back(callable.owner);
    }
  }
  for (const std::uint64_t owner : owners) {
    const bool before = std::any_of(made.workers.begin(), made.workers.end(),
                                    [&](const auto& worker) { return worker->owner() == owner; });
    if (before || owner == 0) return damaged("the Workers of its callables are not in order");
    made.workers.push_back(std::make_unique<Registrations>(owner));
  }
  return {};
}

Status add_callables(const SessionManifest& manifest, const embedding::Language* language,
                     MadeTable& made) {
  auto worker = made.workers.begin();
  for (const ManifestCallable& given : manifest.callables) {
    while (worker != made.workers.end() && (*worker)->owner() != given.owner) ++worker;
    if (worker == made.workers.end()) {
      return damaged(fmt::format("\"{}\" is out of order", given.name));
    }
    ECHELON_ASSIGN_OR_RETURN(Callable callable, make_one(given, language));
    const auto added = (*worker)->add(std::move(callable));
    if (!added.ok()) return damaged(added.status().info().message);
  }
  return {};
}

}  // namespace

Status fill_manifest(const CallableTable& table, SessionManifest& manifest) {
  manifest.workers = table.owners();
  for (const InheritedLibrary* library : table.libraries()) {
    manifest.libraries.push_back(
        {library->name, library->library->file(), library->library->digest()});
  }
  for (std::uint32_t slot = 1; slot <= table.size(); ++slot) {
    const Callable& callable = *table.at(CallableSlot{slot});
    ManifestCallable& out = manifest.callables.emplace_back();
    out.owner = table.ref_of(CallableSlot{slot}).owner;
    out.kind = registered_kind(callable.kind);
    out.name = callable.name;
    if (out.name.size() > kCallableNameBytesMax) {
      return Status::error(
          Code::kInvalidArgument, Reason::kTooLarge,
          fmt::format("a callable's name of {} bytes; with Workers on other hosts at most {} are "
                      "possible",
                      out.name.size(), kCallableNameBytesMax));
    }
    ECHELON_RETURN_IF_ERROR(describe_for(callable, out));
  }
  return check_sizes(manifest);
}

void keep_from_native(SessionManifest& manifest) {
  for (ManifestCallable& callable : manifest.callables) {
    if (!needs_language(callable.form)) continue;
    const std::string why = native_refusal(callable.name, task_kind(callable.kind));
    callable.form = Form::kInherited;
    callable.payload = text_payload(why);
    callable.digest = sha256(callable.payload->bytes());
  }
}

Result<std::shared_ptr<const CallableTable>> make_table(const SessionManifest& manifest,
                                                        const embedding::Language* language) {
  if (manifest.callables.size() > kManifestCallablesMax) {
    return damaged(fmt::format("{} callables; at most {} are possible", manifest.callables.size(),
                               kManifestCallablesMax));
  }
  const auto made = std::make_shared<MadeTable>();
  ECHELON_RETURN_IF_ERROR(load_libraries(manifest, *made));
  ECHELON_RETURN_IF_ERROR(make_workers(manifest, *made));
  ECHELON_RETURN_IF_ERROR(add_callables(manifest, language, *made));
  if (!made->workers.empty()) {
    // For sessions below this one.
    for (std::size_t i = 0; i < made->libraries.size(); ++i) {
      made->workers.front()->add(InheritedLibrary{manifest.libraries[i].name, made->libraries[i]});
    }
  }
  for (const auto& worker : made->workers) {
    const CallableTable above = std::move(made->table);
    made->table = CallableTable(&above, *worker);
  }
  return std::shared_ptr<const CallableTable>(made, &made->table);
}

}  // namespace echelon::detail
