// SPDX-License-Identifier: Apache-2.0
#include <echelon/v1/session.pb.h>

#include <array>

#include "base/check.h"
#include "remote/grpc/lane_codec.h"
#include "remote/grpc/manifest_codec.h"
#include "remote/manifest_check.h"
#include "target.h"

namespace echelon::fuzz {
namespace {

void run_batch(Bytes input) {
  DecodedBatch batch;
  if (!decode_batch(input, batch).ok()) return;
  std::size_t bytes = 0;
  for (const Bytes message : batch.messages) bytes += message.size();
  ECHELON_CHECK(bytes <= input.size(), bytes, input.size());
}

std::vector<Seed> seeds_of_batch() {
  Seed seed;
  for (const auto field : {BatchField::kMessages, BatchField::kMessages, BatchField::kClosed}) {
    const Bytes payload = bytes_of("payload");
    const FieldHeader header = field_header(field, payload.size());
    seed.insert(seed.end(), header.bytes.begin(),
                header.bytes.begin() + static_cast<std::ptrdiff_t>(header.size));
    seed.insert(seed.end(), payload.begin(), payload.end());
  }
  return {seed};
}

SessionManifest sample_manifest() {
  SessionManifest manifest;
  manifest.path = "pod0/host1";
  manifest.name = "host1";
  manifest.sub_workers = 2;
  manifest.chips = {{"cpu", 0}};
  manifest.libraries.push_back({"libsteps.so", Payload::make(bytes_of("library")).value(),
                                sha256(std::string_view("library"))});
  ManifestCallable named;
  named.owner = 5;
  named.form = embedding::Form::kName;
  named.name = "square";
  named.payload = Payload::make(bytes_of("square")).value();
  named.digest = sha256(std::string_view("square"));
  manifest.callables.push_back(named);
  manifest.workers = {5};
  return manifest;
}

void run_manifest(Bytes input) {
  const auto manifest = decode_manifest(input);
  if (!manifest.ok()) return;
  ECHELON_CHECK(check_manifest(*manifest).ok());
  ECHELON_CHECK(decode_manifest(encode_manifest(*manifest)).ok());
}

std::vector<Seed> seeds_of_manifest() {
  SessionManifest small;
  small.path = small.name = "host1";
  return {encode_manifest(sample_manifest()), encode_manifest(small)};
}

/// What a daemon and a parent read of each other's calls.
void run_calls(Bytes input) {
  const auto size = static_cast<int>(input.size());
  v1::OpenSessionRequest request;
  if (request.ParseFromArray(input.data(), size) && request.has_manifest()) {
    static_cast<void>(from_wire(request.manifest()));
  }
  v1::SessionEvent event;
  if (event.ParseFromArray(input.data(), size) && event.has_ready()) {
    static_cast<void>(from_wire(event.ready()));
  }
}

template <class Message>
Seed wire_seed(const Message& message) {
  const std::string text = message.SerializeAsString();
  return seed_of(bytes_of(text));
}

std::vector<Seed> seeds_of_calls() {
  v1::OpenSessionRequest open;
  to_wire(sample_manifest(), *open.mutable_manifest());
  v1::OpenSessionRequest end;
  end.mutable_end()->set_why("closed");
  SessionReady what;
  what.address = "127.0.0.1:7172";
  what.token = "0123456789abcdef";
  what.host = "host";
  v1::SessionEvent ready;
  to_wire(what, *ready.mutable_ready());
  v1::SessionEvent phase;
  phase.mutable_phase()->set_text("starting");
  return {wire_seed(open), wire_seed(end), wire_seed(ready), wire_seed(phase)};
}

constexpr std::array kTargets = {
    Target{"lane_batch", "what a lane over gRPC carries", run_batch, seeds_of_batch},
    Target{"manifest", "the Worker that a session is to be", run_manifest, seeds_of_manifest},
    Target{"session_calls", "a session's call, both ways", run_calls, seeds_of_calls},
};

}  // namespace

std::span<const Target> session_targets() {
  return kTargets;
}

}  // namespace echelon::fuzz
