// SPDX-License-Identifier: Apache-2.0
//
// What a language binding uses beyond what a program does (embedding.h).
#include <echelon/echelon.h>
#include <echelon/embedding.h>
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "shared_words.h"
#include "thrown.h"

namespace echelon::tree_test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// testing::Test has a member called Run.
using RunHandle = ::echelon::Run;

enum Word : std::size_t { kGo, kNoted };

class SubmitAndWait : public testing::Test {
 protected:
  SubmitAndWait() : host({.level = 3, .sub_workers = 1, .language = counting_language()}) {
    note = host.register_sub("note", [this](Task&) { ++words[kNoted]; });
    hold = host.register_sub("hold", [this](Task&) { words.wait_for(kGo); });
    host.start();
  }
  std::shared_ptr<const embedding::Language> counting_language() {
    embedding::Language language;
    language.before_wait = [this] { said += "before "; };
    language.after_wait = [this] { said += "after "; };
    return std::make_shared<const embedding::Language>(std::move(language));
  }

  SharedWords words;
  std::string said;
  Worker host;
  SubHandle note, hold;
};

TEST_F(SubmitAndWait, ReturnsARunThatHasEnded) {
  const RunHandle run = host.submit_and_wait(
      [this](Orchestrator& orch) {
        orch.submit(note);
        return std::chrono::nanoseconds(1h);
      },
      {});
  EXPECT_TRUE(run.done());
  EXPECT_EQ(words[kNoted], 1);
}

TEST_F(SubmitAndWait, ReturnsARunInFlightWhenThePatienceIsOver) {
  const RunHandle run = host.submit_and_wait(
      [this](Orchestrator& orch) {
        orch.submit(hold);
        return 1ms;
      },
      {});
  EXPECT_FALSE(run.done());
  words[kGo] = 1;
  run.wait();
}

TEST_F(SubmitAndWait, WithoutPatienceIsASubmit) {
  const RunHandle run = host.submit_and_wait(
      [this](Orchestrator& orch) {
        orch.submit(hold);
        return 0ms;
      },
      {});
  EXPECT_FALSE(run.done());
  EXPECT_EQ(said, "");
  words[kGo] = 1;
  run.wait();
}

TEST_F(SubmitAndWait, DoesNotWaitAfterAFunctionThatThrows) {
  const RunHandle run = host.submit_and_wait(
      [this](Orchestrator& orch) -> std::chrono::nanoseconds {
        orch.submit(hold);
        throw std::runtime_error("it fails");
      },
      {});
  EXPECT_FALSE(run.done());
  EXPECT_EQ(said, "");
  words[kGo] = 1;
  EXPECT_THAT(thrown<TaskFailed>([&] { run.wait(); }).message(), HasSubstr("it fails"));
}

TEST_F(SubmitAndWait, TellsTheLanguageBeforeItsWaitAndAfter) {
  (void)host.submit_and_wait(
      [this](Orchestrator& orch) {
        orch.submit(note);
        EXPECT_EQ(said, "");
        return std::chrono::nanoseconds(1h);
      },
      {});
  EXPECT_EQ(said, "before after ");
}

}  // namespace
}  // namespace echelon::tree_test
