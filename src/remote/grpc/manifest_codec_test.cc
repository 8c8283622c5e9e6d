// SPDX-License-Identifier: Apache-2.0
#include "remote/grpc/manifest_codec.h"

#include <echelon/v1/session.pb.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "remote/manifest_check.h"

namespace echelon {
namespace {

using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::shared_ptr<const Payload> payload_of(std::string_view text) {
  return Payload::make(bytes_of(text)).value();
}

SessionManifest sample() {
  SessionManifest manifest;
  manifest.runtime = SessionRuntime::kPython;
  manifest.path = "pod0/host1";
  manifest.name = "host1";
  manifest.level = 4;
  manifest.sub_workers = 7;
  manifest.chips = {{"cpu", 0}, {"cpu", 3}};
  manifest.memory_bytes_max = 1u << 20;
  manifest.start_deadline = std::chrono::seconds(11);
  manifest.unresponsive_after = std::chrono::seconds(12);
  manifest.lease = std::chrono::seconds(13);
  const std::string library(20'000, 'l');
  manifest.libraries.push_back({"libdigits.so", payload_of(library), sha256(library)});
  ManifestCallable inherited;
  inherited.owner = 5;
  inherited.name = "closure";
  manifest.callables.push_back(inherited);
  ManifestCallable named;
  named.owner = ~std::uint64_t{0};
  named.kind = RegisteredKind::kOrch;
  named.form = embedding::Form::kName;
  named.name = "train";
  named.payload = payload_of("digits_train");
  named.digest = sha256("digits_train");
  manifest.callables.push_back(named);
  manifest.workers = {4, 5, ~std::uint64_t{0}};
  return manifest;
}

Status decode_failure(const v1::SessionManifest& wire) {
  const auto decoded = from_wire(wire);
  return decoded.ok() ? Status() : decoded.status();
}

v1::SessionManifest wire_sample() {
  v1::SessionManifest wire;
  to_wire(sample(), wire);
  return wire;
}

std::string text_of(const Payload& payload) {
  return {reinterpret_cast<const char*>(payload.bytes().data()), payload.bytes().size()};
}

TEST(ManifestCodecTest, EveryFieldCrosses) {
  const SessionManifest sent = sample();
  const auto got = decode_manifest(encode_manifest(sent));
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->runtime, sent.runtime);
  EXPECT_EQ(got->path, sent.path);
  EXPECT_EQ(got->name, sent.name);
  EXPECT_EQ(got->level, sent.level);
  EXPECT_EQ(got->sub_workers, sent.sub_workers);
  ASSERT_EQ(got->chips.size(), 2u);
  EXPECT_EQ(got->chips[1].driver, "cpu");
  EXPECT_EQ(got->chips[1].device, 3);
  EXPECT_EQ(got->memory_bytes_max, sent.memory_bytes_max);
  EXPECT_EQ(got->start_deadline, sent.start_deadline);
  EXPECT_EQ(got->unresponsive_after, sent.unresponsive_after);
  EXPECT_EQ(got->lease, sent.lease);
}

TEST(ManifestCodecTest, LibrariesAndCallablesCrossInOrder) {
  const SessionManifest sent = sample();
  const auto got = decode_manifest(encode_manifest(sent));
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  ASSERT_EQ(got->libraries.size(), 1u);
  EXPECT_EQ(got->libraries[0].name, "libdigits.so");
  EXPECT_EQ(text_of(*got->libraries[0].payload), std::string(20'000, 'l'));
  EXPECT_GE(got->libraries[0].payload->fd(), 0) << "a library is opened by descriptor";
  ASSERT_EQ(got->callables.size(), 2u);
  EXPECT_EQ(got->callables[0].form, embedding::Form::kInherited);
  EXPECT_EQ(got->callables[0].payload, nullptr);
  EXPECT_EQ(got->callables[1].owner, ~std::uint64_t{0});
  EXPECT_EQ(got->callables[1].kind, RegisteredKind::kOrch);
  EXPECT_EQ(got->callables[1].form, embedding::Form::kName);
  EXPECT_EQ(got->callables[1].name, "train");
  EXPECT_EQ(text_of(*got->callables[1].payload), "digits_train");
  EXPECT_EQ(got->workers, sent.workers);
}

TEST(ManifestCodecTest, AnotherMajorVersionIsRefusedWithBothNamed) {
  v1::SessionManifest wire;  // all else is missing: the version is looked at first
  wire.set_protocol_major(7);
  wire.set_protocol_minor(2);
  const Status why = decode_failure(wire);
  EXPECT_EQ(why.code(), Code::kUnimplemented);
  EXPECT_THAT(why.info().message, HasSubstr("7.2"));
  EXPECT_THAT(why.info().message, HasSubstr("1.0"));
}

TEST(ManifestCodecTest, UnknownFieldsOfTheSameMajorVersionAreIgnored) {
  v1::SessionManifest wire = wire_sample();
  wire.set_protocol_minor(99);
  std::string bytes = wire.SerializeAsString();
  bytes += "\xca\x3e\x03new";  // field 1001: "new"
  const auto got = decode_manifest(bytes_of(bytes));
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->path, "pod0/host1");
}

TEST(ManifestCodecTest, ADigestThatDoesNotMatchIsRefused) {
  v1::SessionManifest wire = wire_sample();
  wire.mutable_libraries(0)->mutable_payload()->back() = 'x';
  const Status why = decode_failure(wire);
  EXPECT_EQ(why.reason(), Reason::kBadArgument);
  EXPECT_THAT(why.info().message, HasSubstr("library 'libdigits.so'"));
  EXPECT_THAT(why.info().message, HasSubstr(to_hex(sha256(std::string(20'000, 'l')))));
}

TEST(ManifestCodecTest, ADigestOfAnotherLengthIsRefused) {
  v1::SessionManifest wire = wire_sample();
  wire.mutable_callables(1)->set_digest("short");
  EXPECT_THAT(decode_failure(wire).info().message, HasSubstr("'train' has 5 bytes, expected 32"));
}

TEST(ManifestCodecTest, WhatIsOutOfBoundsIsRefusedWithTheBound) {
  const auto refused = [](auto spoil) {
    v1::SessionManifest wire = wire_sample();
    spoil(wire);
    const Status why = decode_failure(wire);
    return why.ok() ? std::string("accepted") : why.info().message;
  };
  using Wire = v1::SessionManifest;
  EXPECT_THAT(refused([](Wire& wire) { wire.clear_path(); }), HasSubstr("1 to 4096"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_name(std::string(256, 'n')); }),
              HasSubstr("256 bytes; 1 to 255"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_path("pod0\nforged"); }),
              HasSubstr("path has control characters"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_level(6); }), HasSubstr("level 3 to 5"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_sub_workers(5000); }), HasSubstr("at most 4096"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_start_deadline_ns(-1); }), HasSubstr("0.001 s to"));
  EXPECT_THAT(refused([](Wire& wire) { wire.set_lease_ns(1); }), HasSubstr("0.01 s to"));
  EXPECT_THAT(refused([](Wire& wire) { wire.mutable_chips(0)->set_device(-4); }),
              HasSubstr("chip device -4"));
  EXPECT_THAT(refused([](Wire& wire) { wire.mutable_chips(0)->set_driver("/lib/any.so"); }),
              HasSubstr("on another host drivers are named"));
  EXPECT_THAT(refused([](Wire& wire) { wire.mutable_libraries(0)->clear_payload(); }),
              HasSubstr("'libdigits.so' is empty"));
}

TEST(ManifestCodecTest, AnUnknownKindFormOrRuntimeIsRefusedByNumber) {
  v1::SessionManifest wire = wire_sample();
  wire.mutable_callables(1)->set_form(static_cast<v1::CallableForm>(44));
  EXPECT_THAT(decode_failure(wire).info().message, HasSubstr("form 44"));
  wire = wire_sample();
  wire.mutable_callables(1)->set_kind(static_cast<v1::CallableKind>(33));
  EXPECT_THAT(decode_failure(wire).info().message, HasSubstr("kind 33"));
  wire = wire_sample();
  wire.set_runtime(static_cast<v1::Runtime>(9));
  EXPECT_THAT(decode_failure(wire).info().message, HasSubstr("runtime 9"));
}

TEST(ManifestCodecTest, TooManyCallablesAreRefusedBeforeAnyIsMade) {
  v1::SessionManifest wire = wire_sample();
  for (std::size_t i = 0; i < kManifestCallablesMax; ++i) wire.add_callables();
  EXPECT_EQ(decode_failure(wire).reason(), Reason::kTooLarge);
}

TEST(ManifestCodecTest, GarbageIsRefused) {
  const std::string garbage(100, '\xff');
  const auto got = decode_manifest(bytes_of(garbage));
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().reason(), Reason::kBadFrame);
}

TEST(ManifestCodecTest, AReadyWithoutItsTokenIsRefused) {
  SessionReady ready;
  ready.session = 3;
  ready.pid = 71;
  ready.host = "node7";
  ready.address = "10.0.0.7:4711";
  ready.token = std::string("\0secret", 7);
  ready.pool = Uid{9};
  ready.memory_bytes_max = 1u << 30;
  v1::SessionReady wire;
  to_wire(ready, wire);
  const auto got = from_wire(wire);
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->token, ready.token);
  EXPECT_EQ(got->pool, ready.pool);
  EXPECT_EQ(got->host, ready.host);
  EXPECT_EQ(got->memory_bytes_max, ready.memory_bytes_max);
  wire.clear_token();
  EXPECT_EQ(from_wire(wire).status().reason(), Reason::kBadFrame);
}

}  // namespace
}  // namespace echelon
