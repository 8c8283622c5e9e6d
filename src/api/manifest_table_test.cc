// SPDX-License-Identifier: Apache-2.0
//
// From a Worker's callables to a manifest, and from there to the table of a session.
#include "api/manifest_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "api/chip_image_state.h"
#include "api/named_callables.h"
#include "api/task_context.h"
#include "api/testing/tell.h"

namespace echelon::detail {
namespace {

using embedding::Form;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::uint64_t kRoot = 11, kPod = 12;

ECHELON_SUB("manifest here", [](Task&) { return 7; });

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> file_bytes_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return bytes_of(std::string(std::istreambuf_iterator<char>(file), {}));
}

/// What a sub function returns, as an int; its error's message.
struct Called {
  int value = 0;
  std::string message;
};
Called call(const CallableTable& table, std::uint32_t slot) {
  TaskBody body;
  TaskContext context;
  context.body = &body;
  Task task(context);
  Called called;
  try {
    table.at(CallableSlot{slot})->sub(task);
    if (context.result.size() == sizeof(int)) {
      std::memcpy(&called.value, context.result.data(), sizeof(int));
    }
  } catch (const Error& error) {
    called.message = error.message();
  }
  return called;
}

class ManifestTable : public testing::Test {
 protected:
  static Callable function(const std::string& name, TaskKind kind = TaskKind::kSub) {
    Callable callable;
    callable.kind = kind;
    callable.name = name;
    if (kind == TaskKind::kSub) {
      callable.sub = NamedCallable::sub([](Task&) { return 1; });
    } else {
      callable.orch = NamedCallable::orch([](Orchestrator&) {});
    }
    return callable;
  }
  static Callable by_name(const std::string& name, TaskKind kind = TaskKind::kSub) {
    NamedFunction named = find_named(kind, name).value();
    Callable callable;
    callable.kind = kind;
    callable.name = name;
    callable.library = named.library;
    callable.sub = named.sub;
    callable.orch = named.orch;
    callable.form = Form::kName;
    callable.payload = Payload::small(std::as_bytes(std::span(name)));
    return callable;
  }
  static void add_library(Registrations& worker) {
    auto file = Payload::make_file(file_bytes_of(ECHELON_API_TEST_LIBRARY), MemfdUse::kExecutable,
                                   PayloadFork::kKept);
    worker.add(InheritedLibrary{"tell.so", LoadedLibrary::open(*file, "tell.so").value()});
  }
  SessionManifest manifest() {
    SessionManifest made;
    EXPECT_TRUE(fill_manifest(table(), made).ok());
    return made;
  }
  CallableTable table() {
    above = CallableTable(nullptr, root);
    return {&above, pod};
  }
  static std::string refusal(const SessionManifest& manifest) {
    const auto made = make_table(manifest, nullptr);
    return made.ok() ? "" : made.status().info().message;
  }

  Registrations root{kRoot};
  Registrations pod{kPod};
  CallableTable above;
};

TEST_F(ManifestTable, SlotsAndHandlesMeanTheSameOnBothSides) {
  std::vector<CallableRef> refs;
  refs.push_back(*root.add(function("first")));
  refs.push_back(*root.add(function("second", TaskKind::kOrch)));
  refs.push_back(*pod.add(by_name("manifest here")));
  refs.push_back(*pod.add(function("fourth")));
  const CallableTable parent = table();
  const auto session = make_table(manifest(), nullptr);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  EXPECT_EQ((*session)->size(), 4u);
  for (const CallableRef& ref : refs) {
    const CallableSlot slot = parent.slot_of(ref);
    EXPECT_EQ((*session)->slot_of(ref), slot);
    EXPECT_EQ((*session)->at(slot)->name, parent.at(slot)->name);
    EXPECT_EQ((*session)->at(slot)->kind, parent.at(slot)->kind);
    EXPECT_EQ((*session)->at(slot)->digest, parent.at(slot)->digest);
  }
}

TEST_F(ManifestTable, WorkersWithoutACallableAreKnownToo) {
  pod.add(function("only")).value();
  const auto session = make_table(manifest(), nullptr);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  EXPECT_TRUE((*session)->knows(kRoot));
  EXPECT_EQ((*session)->slot_of(CallableRef{kPod, 0, 0}).value, 1u);
}

TEST_F(ManifestTable, ANamedFunctionOfTheProgramIsFoundThere) {
  root.add(by_name("manifest here")).value();
  const auto session = make_table(manifest(), nullptr);
  EXPECT_EQ(call(**session, 1).value, 7);
}

TEST_F(ManifestTable, ALibraryIsLoadedFromWhatTheManifestHolds) {
  SessionManifest made;
  {
    Registrations worker(kRoot);
    add_library(worker);
    worker.add(by_name("api test tell")).value();
    ASSERT_TRUE(fill_manifest(CallableTable(nullptr, worker), made).ok());
  }
  EXPECT_THAT(made.libraries, SizeIs(1));
  EXPECT_FALSE(find_named(TaskKind::kSub, "api test tell").ok()) << "the parent's copy is gone";
  {
    const auto session = make_table(made, nullptr);
    ASSERT_TRUE(session.ok()) << session.status().to_string();
    EXPECT_EQ(call(**session, 1).value, api_test::kTold);
    EXPECT_THAT((*session)->libraries(), SizeIs(1)) << "for sessions below that one";
  }
  EXPECT_FALSE(find_named(TaskKind::kSub, "api test tell").ok()) << "the table kept it";
}

TEST_F(ManifestTable, ALibraryThatTwoWorkersHaveTravelsOnce) {
  add_library(root);
  add_library(root);
  add_library(pod);
  EXPECT_THAT(manifest().libraries, SizeIs(1));
}

TEST_F(ManifestTable, AChipImageKeepsItsBytesAndItsKernel) {
  Callable chip;
  chip.kind = TaskKind::kChip;
  chip.name = "scaled";
  chip.form = Form::kImage;
  chip.image = ChipImage::from_file(ECHELON_API_TEST_KERNELS, "scale").state();
  root.add(chip).value();
  const auto session = make_table(manifest(), nullptr);
  ASSERT_TRUE(session.ok()) << session.status().to_string();
  const KernelImage& image = (*session)->at(CallableSlot{1})->image->image;
  EXPECT_EQ(image.kernel(), "scale");
  EXPECT_EQ(image.digest(), chip.image->image.digest());
}

// --- what cannot travel -------------------------------------------------------------------------

TEST_F(ManifestTable, AFunctionThatCapturedRefusesItsCallsAndSaysWhatToDo) {
  root.add(function("step")).value();
  root.add(by_name("manifest here")).value();
  const auto session = make_table(manifest(), nullptr);
  EXPECT_THAT(call(**session, 1).message,
              AllOf(HasSubstr("\"step\" was registered before start() as a function with what it "
                              "captured"),
                    HasSubstr("ECHELON_SUB in a library"), HasSubstr("register_sub(\"step\")"),
                    HasSubstr("running tree")));
  EXPECT_EQ(call(**session, 2).value, 7);
}

TEST_F(ManifestTable, ASessionBelowASessionHearsTheSame) {
  root.add(function("step")).value();
  const auto middle = make_table(manifest(), nullptr);
  SessionManifest again;
  ASSERT_TRUE(fill_manifest(**middle, again).ok());
  const auto below = make_table(again, nullptr);
  EXPECT_EQ(call(**below, 1).message, call(**middle, 1).message);
}

TEST_F(ManifestTable, ANameThatNobodyHasThereRefusesItsCallsWithTheNamesThatThereAre) {
  Callable callable = function("nobody's name");
  callable.form = Form::kName;
  callable.payload = Payload::small(bytes_of("nobody's name"));
  root.add(callable).value();
  const auto session = make_table(manifest(), nullptr);
  ASSERT_TRUE(session.ok());
  EXPECT_THAT(call(**session, 1).message,
              AllOf(HasSubstr("\"nobody's name\" cannot run on this host: no function here is "
                              "called ECHELON_SUB(\"nobody's name\")"),
                    HasSubstr("\"manifest here\"")));
}

// --- functions of another language --------------------------------------------------------------

/// Makes functions that return the size of what they were made from.
embedding::Language sizes() {
  embedding::Language language;
  language.load_sub = [](const embedding::Shipment& shipment) -> std::function<void(Task&)> {
    if (shipment.form == Form::kImportPath) throw std::runtime_error("no module named there");
    const int size = static_cast<int>(shipment.payload.size());
    return NamedCallable::sub([size](Task&) { return size; });
  };
  return language;
}

TEST_F(ManifestTable, WhatWasPackedIsMadeAgainByTheLanguageOfTheSession) {
  Callable packed = function("packed");
  int times = 0;
  packed.pack = [&times]() -> embedding::Packed {
    ++times;
    return {Form::kPickle, std::vector<std::byte>(20'000)};
  };
  root.add(packed).value();
  const SessionManifest made = manifest();
  EXPECT_EQ(times, 1);
  EXPECT_EQ(made.callables[0].form, Form::kPickle);
  const embedding::Language language = sizes();
  EXPECT_EQ(call(**make_table(made, &language), 1).value, 20'000);
  EXPECT_THAT(call(**make_table(made, nullptr), 1).message, HasSubstr("runs C++ alone"));
}

TEST_F(ManifestTable, ANativeSessionIsToldTheNamesOfWhatItCannotRunAndNoMore) {
  Callable packed = function("packed");
  packed.pack = [] { return embedding::Packed{Form::kPickle, std::vector<std::byte>(20'000)}; };
  root.add(packed).value();
  SessionManifest made = manifest();
  keep_from_native(made);
  EXPECT_EQ(made.callables[0].form, Form::kInherited);
  const embedding::Language language = sizes();
  EXPECT_THAT(
      call(**make_table(made, &language), 1).message,
      AllOf(HasSubstr("\"packed\" is a function of Python"), HasSubstr("runtime=\"python\"")));
}

TEST_F(ManifestTable, WhatCannotBePackedOrLoadedRefusesItsCallsWithTheLanguagesWords) {
  Callable locked = function("locked");
  locked.pack = []() -> embedding::Packed { throw std::runtime_error("it captures a lock"); };
  root.add(locked).value();
  Callable module = function("module");
  module.pack = []() -> embedding::Packed { return {Form::kImportPath, bytes_of("there:it")}; };
  root.add(module).value();
  const embedding::Language language = sizes();
  const auto session = make_table(manifest(), &language);
  EXPECT_THAT(call(**session, 1).message, AllOf(HasSubstr("\"locked\" cannot run on another host"),
                                                HasSubstr("captures a lock")));
  EXPECT_THAT(call(**session, 2).message, HasSubstr("no module named there"));
}

// --- manifests that are damaged, or forged ------------------------------------------------------

ManifestCallable named_entry(std::uint64_t owner, const std::string& name) {
  ManifestCallable made;
  made.owner = owner;
  made.form = Form::kName;
  made.name = name;
  made.payload = Payload::small(std::as_bytes(std::span(name)));
  made.digest = sha256(made.payload->bytes());
  return made;
}

TEST_F(ManifestTable, WhatItsDigestDoesNotNameIsRefused) {
  SessionManifest library;
  library.libraries.push_back({"tell.so",
                               Payload::small(bytes_of("\x7f"
                                                       "ELF")),
                               Digest{}});
  EXPECT_THAT(refusal(library), HasSubstr("the library tell.so is not what its digest says"));
  SessionManifest callable;
  callable.callables.push_back(named_entry(kRoot, "manifest here"));
  callable.callables[0].digest = Digest{};
  EXPECT_THAT(refusal(callable),
              HasSubstr("what \"manifest here\" is made from is not what its digest says"));
}

TEST_F(ManifestTable, WhatIsNoLibraryIsRefusedWithTheLoadersWords) {
  SessionManifest made;
  const auto text = Payload::small(bytes_of("no shared object"));
  made.libraries.push_back({"text.so", text, sha256(text->bytes())});
  EXPECT_THAT(refusal(made), HasSubstr("the library text.so cannot be loaded"));
}

TEST_F(ManifestTable, WhatIsNoImageIsRefused) {
  SessionManifest made;
  made.callables.push_back(named_entry(kRoot, "kernel"));
  made.callables[0].kind = RegisteredKind::kChip;
  EXPECT_THAT(refusal(made), HasSubstr("the chip callable \"kernel\" has no image"));
  made.callables[0].form = Form::kImage;
  EXPECT_THAT(refusal(made), HasSubstr("chip image is refused"));
}

TEST_F(ManifestTable, KindsFormsAndOrdersThatCannotBeAreRefused) {
  SessionManifest library;
  library.callables.push_back(named_entry(kRoot, "a"));
  library.callables[0].kind = RegisteredKind::kLibrary;
  EXPECT_THAT(refusal(library), HasSubstr("of no kind that can be called"));
  SessionManifest form;
  form.callables.push_back(named_entry(kRoot, "a"));
  form.callables[0].form = static_cast<Form>(77);
  EXPECT_THAT(refusal(form), HasSubstr("no function in form 77"));
  SessionManifest empty;
  empty.callables.push_back(named_entry(kRoot, "a"));
  empty.callables[0].payload = nullptr;
  EXPECT_THAT(refusal(empty), HasSubstr("comes without what it is made from"));
  SessionManifest order;
  for (const std::uint64_t owner : {kRoot, kPod, kRoot}) {
    order.callables.push_back(named_entry(owner, std::to_string(order.callables.size())));
  }
  EXPECT_THAT(refusal(order), HasSubstr("the Workers of its callables are not in order"));
  order.workers = {kRoot, kPod};
  EXPECT_THAT(refusal(order), HasSubstr("\"2\" is out of order"));
  SessionManifest twice;
  twice.callables = {named_entry(kRoot, "a"), named_entry(kRoot, "a")};
  EXPECT_THAT(refusal(twice), HasSubstr("is registered here already"));
}

TEST_F(ManifestTable, WhatAManifestCannotHoldIsRefusedAtTheParent) {
  root.add(function(std::string(kCallableNameBytesMax + 1, 'n'))).value();
  SessionManifest made;
  EXPECT_THAT(fill_manifest(table(), made).info().message,
              HasSubstr("a callable's name of 1025 bytes"));
}

}  // namespace
}  // namespace echelon::detail
