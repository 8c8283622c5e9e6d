// SPDX-License-Identifier: Apache-2.0
#include "remote/session_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

SessionRules rules_of(std::set<AllowedCode> allowed = {}) {
  SessionRules rules;
  rules.sessions_max = 4;
  rules.memory_bytes_max = 4000;
  rules.allowed = std::move(allowed);
  return rules;
}

SessionManifest with_callable(embedding::Form form) {
  SessionManifest manifest;
  manifest.callables.resize(1);
  manifest.callables[0].name = "step";
  manifest.callables[0].form = form;
  return manifest;
}

TEST(SessionRulesTest, AllowedCodeIsReadFromAList) {
  EXPECT_THAT(parse_allowed("").value(), IsEmpty());
  EXPECT_THAT(parse_allowed("pickle,library").value(),
              ElementsAre(AllowedCode::kLibrary, AllowedCode::kPickle));
  EXPECT_THAT(parse_allowed("source").value(), ElementsAre(AllowedCode::kSource));
}

TEST(SessionRulesTest, AnUnknownWordIsRefusedWithTheWordsThereAre) {
  const auto parsed = parse_allowed("library,pikle");
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(parsed.status().info().message, HasSubstr("'pikle'"));
  EXPECT_THAT(parsed.status().info().message, HasSubstr("library, pickle or source"));
}

TEST(SessionRulesTest, WhatThisInstallationHasNeedsNoPermission) {
  for (const auto form :
       {embedding::Form::kInherited, embedding::Form::kName, embedding::Form::kImportPath}) {
    EXPECT_TRUE(admit_session(rules_of(), with_callable(form), {}).ok());
  }
}

TEST(SessionRulesTest, CodeInAFormThatIsNotAllowedIsRefusedByName) {
  const Status why =
      admit_session(rules_of({AllowedCode::kLibrary}), with_callable(embedding::Form::kPickle), {})
          .status();
  EXPECT_EQ(why.code(), Code::kPermissionDenied);
  EXPECT_THAT(why.info().message, HasSubstr("callable 'step'"));
  EXPECT_THAT(why.info().message, HasSubstr("--allow pickle"));
  EXPECT_TRUE(
      admit_session(rules_of({AllowedCode::kPickle}), with_callable(embedding::Form::kPickle), {})
          .ok());
}

TEST(SessionRulesTest, PythonRunsWhereThereIsOneAndIsRefusedByNameElsewhere) {
  SessionManifest manifest;
  manifest.name = "host1";
  manifest.runtime = SessionRuntime::kPython;
  SessionRules rules = rules_of();
  const Status refused = admit_session(rules, manifest, {}).status();
  EXPECT_THAT(refused.info().message, HasSubstr("host1 is to run Python"));
  EXPECT_THAT(refused.info().message, HasSubstr("--python PATH"));
  rules.python = true;
  EXPECT_TRUE(admit_session(rules, manifest, {}).ok());
}

TEST(SessionRulesTest, MachineCodeIsOneFormWhateverItIsFor) {
  SessionManifest library;
  library.libraries.resize(1);
  library.libraries[0].name = "libdigits.so";
  EXPECT_THAT(admit_session(rules_of(), library, {}).status().info().message,
              HasSubstr("'libdigits.so'"));
  EXPECT_TRUE(admit_session(rules_of({AllowedCode::kLibrary}), library, {}).ok());
  const SessionManifest image = with_callable(embedding::Form::kImage);
  EXPECT_FALSE(admit_session(rules_of({AllowedCode::kPickle}), image, {}).ok());
  EXPECT_TRUE(admit_session(rules_of({AllowedCode::kLibrary}), image, {}).ok());
}

TEST(SessionRulesTest, OneFormIsCheckedByItself) {
  const std::set<AllowedCode> none;
  EXPECT_TRUE(check_form(none, embedding::Form::kName, "sub", "step").ok());
  EXPECT_THAT(check_form(none, embedding::Form::kImage, "chip", "scale").info().message,
              HasSubstr("chip 'scale' is refused"));
  EXPECT_TRUE(check_form({AllowedCode::kPickle}, embedding::Form::kPickle, "sub", "step").ok());
}

TEST(SessionRulesTest, WithoutAWishASessionGetsAnEqualShare) {
  EXPECT_EQ(admit_session(rules_of(), SessionManifest{}, {}).value(), 1000u);
}

TEST(SessionRulesTest, AWishIsGrantedWhileItIsLeft) {
  SessionManifest manifest;
  manifest.memory_bytes_max = 3000;
  EXPECT_EQ(admit_session(rules_of(), manifest, {1, 1000}).value(), 3000u);
  const Status why = admit_session(rules_of(), manifest, {1, 1001}).status();
  EXPECT_EQ(why.reason(), Reason::kExhausted);
  EXPECT_THAT(why.info().message, HasSubstr("3000 bytes for tensors; 2999 of this daemon's 4000"));
}

TEST(SessionRulesTest, BeyondTheLimitOfSessionsNoneIsAdmitted) {
  EXPECT_TRUE(admit_session(rules_of(), SessionManifest{}, {3, 0}).ok());
  EXPECT_EQ(admit_session(rules_of(), SessionManifest{}, {4, 0}).status().reason(),
            Reason::kExhausted);
}

}  // namespace
}  // namespace echelon
