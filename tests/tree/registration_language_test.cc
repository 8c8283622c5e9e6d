// SPDX-License-Identifier: Apache-2.0
//
// Callables of a language with a runtime of its own (embedding.h): what it makes of what is
// shipped, and what becomes of it where it cannot.
#include <echelon/echelon.h>
#include <echelon/embedding.h>
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "named_functions.h"
#include "process_set.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using embedding::Form;
using embedding::Language;
using embedding::Shipment;
using testing::AllOf;
using testing::HasSubstr;

std::string text_of(const Shipment& shipment) {
  return {reinterpret_cast<const char*>(shipment.payload.data()), shipment.payload.size()};
}

/// A language whose programs are "size", "throw", "nothing", "block", or anything else.
std::function<void(Task&)> load_sub(const Shipment& shipment) {
  const std::string program = text_of(shipment);
  if (program.starts_with("throw")) throw std::runtime_error("line 1: no such module");
  if (program.starts_with("nothing")) return nullptr;
  if (program.starts_with("block")) {
    for (;;) std::this_thread::sleep_for(1h);
  }
  return
      [bytes = static_cast<std::int64_t>(program.size())](Task& task) { task.set_result(bytes); };
}

std::shared_ptr<const Language> language() {
  auto made = std::make_shared<Language>();
  made->load_sub = load_sub;
  made->load_orch = [](const Shipment& shipment) -> std::function<void(Orchestrator&, TaskArgs&)> {
    if (text_of(shipment).starts_with("block")) {
      for (;;) std::this_thread::sleep_for(1h);
    }
    return [name = std::string(shipment.name)](Orchestrator& orch, TaskArgs& args) {
      args.set_result(Place(name + " in " + orch.path()));
    };
  };
  return made;
}

Shipment shipment(std::string_view name, std::string_view program) {
  Shipment made;
  made.form = Form::kPickle;
  made.name = name;
  made.payload = std::as_bytes(std::span(program));
  return made;
}

class LateLanguage : public testing::Test {
 protected:
  LateLanguage() {
    pod.add_worker(host);
    pod.start();
  }

  Worker pod{{.level = 4, .name = "pod0", .sub_workers = 2, .language = language()}};
  Worker host{{.level = 3, .name = "host0", .sub_workers = 1}};
};

TEST_F(LateLanguage, MakesSubAndOrchestrationFunctionsFromWhatWasShipped) {
  const std::string large(10 << 20, 'x');
  for (const std::string& program : {std::string("small"), large}) {
    const SubHandle sub = embedding::ship_sub(pod, shipment("sub", program), 30s);
    const auto result =
        pod.run([&](Orchestrator& orch) { return orch.submit(sub).result<std::int64_t>(); });
    EXPECT_EQ(result, static_cast<std::int64_t>(program.size()));
    pod.unregister(sub);
  }
  const OrchHandle orch = embedding::ship_orch(pod, shipment("orch", "any"), 30s);
  EXPECT_EQ(pod.run([&](Orchestrator& o) { return o.submit(orch).result<Place>(); }).text(),
            "orch in pod0/host0");
}

TEST_F(LateLanguage, WhatItThrowsIsThrownByRegister) {
  const auto error = thrown<RegistrationFailed>(
      [&] { embedding::ship_sub(pod, shipment("broken", "throw"), 30s); });
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("register_sub(\"broken\"): 3 of 5 processes could not take it"),
                    HasSubstr("line 1: no such module")));
}

TEST_F(LateLanguage, WhatCannotBeCalledIsRefused) {
  const auto error = thrown<RegistrationFailed>(
      [&] { embedding::ship_sub(pod, shipment("empty", "nothing"), 30s); });
  EXPECT_THAT(error.message(), HasSubstr("its language made nothing that can be called"));
}

TEST_F(LateLanguage, AHeldInterpreterIsNamedWhenTheTimeIsUp) {
  const auto error = thrown<RegistrationFailed>(
      [&] { embedding::ship_sub(pod, shipment("stuck", "block"), 500ms); });
  EXPECT_THAT(error.message(),
              HasSubstr("it did not answer in time: it is waiting for its interpreter to make sub "
                        "stuck"));
  EXPECT_EQ(error.others()[0].code, Code::kDeadlineExceeded);
  // Tasks go on beside it.
  const auto where = pod.run([&](Orchestrator& orch) { return orch.path(); });
  EXPECT_EQ(where, "pod0");
}

TEST_F(LateLanguage, AHeldInterpreterOfAWorkerIsNamedToo) {
  const auto error = thrown<RegistrationFailed>(
      [&] { embedding::ship_orch(pod, shipment("stuck", "block"), 500ms); });
  EXPECT_EQ(error.others()[0].path, "pod0/host0");
  EXPECT_THAT(error.others()[0].message,
              HasSubstr("waiting for its interpreter to make orch stuck"));
}

TEST_F(LateLanguage, OnlyAGivenNameMustBeTheOnlyOne) {
  Shipment first = shipment("<lambda>", "a");
  Shipment second = shipment("<lambda>", "ab");
  first.name_given = second.name_given = false;
  const SubHandle one = embedding::ship_sub(pod, first, 30s);
  const SubHandle two = embedding::ship_sub(pod, second, 30s);
  EXPECT_EQ(pod.run([&](Orchestrator& o) {
    return 10 * o.submit(one).result<std::int64_t>() + o.submit(two).result<std::int64_t>();
  }),
            12);
  embedding::ship_sub(pod, shipment("named", "a much longer one"), 30s);
  const auto error =
      thrown<InvalidArgument>([&] { embedding::ship_sub(pod, shipment("named", "another"), 30s); });
  EXPECT_THAT(error.message(), HasSubstr("\"named\" is registered here already"));
}

TEST_F(LateLanguage, OtherFormsAreNotItsOwn) {
  Shipment made = shipment("x", "x");
  made.form = Form::kLibrary;
  thrown<InvalidArgument>([&] { embedding::ship_sub(pod, made, 30s); });
  thrown<InvalidArgument>([&] { embedding::ship_sub(pod, shipment("x", "x"), 0s); });
  thrown<InvalidArgument>([&] { embedding::ship_sub(pod, shipment("", "x"), 30s); });
}

TEST(LateLanguageMissing, IsSaid) {
  Worker host({.level = 3, .sub_workers = 1});
  host.start();
  const auto error =
      thrown<RegistrationFailed>([&] { embedding::ship_sub(host, shipment("x", "x"), 30s); });
  EXPECT_THAT(error.message(), HasSubstr("runs C++ alone"));
}

}  // namespace
}  // namespace echelon::tree_test
