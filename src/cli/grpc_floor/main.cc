// SPDX-License-Identifier: Apache-2.0
//
// libexec/echelon/grpc_floor: gRPC as anybody would use it - a synchronous bidirectional stream of
// the generated stubs, with gRPC's own settings - for `echelon bench remote` to hold lanes against.
// Never started by hand, and nothing but the benchmark uses it.
//   grpc_floor serve          says "serving at ADDRESS"; answers until it is ended
//   grpc_floor ask ADDRESS    for each line of standard input a line of nanoseconds:
//                               trips WARM-UP COUNT    messages of 64 bytes there and back, each
//                               copy PIECES            so many MiB there and one answer
#include <echelon/v1/lane.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using echelon::v1::LaneBatch;
using echelon::v1::Lanes;
using Clock = std::chrono::steady_clock;
using Stream = grpc::ClientReaderWriter<LaneBatch, LaneBatch>;

constexpr std::size_t kTripBytes = 64;
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr unsigned kPiecesMax = 1024;
constexpr int kExitUsage = 2;

class Answering final : public Lanes::Service {
  using ServerStream = grpc::ServerReaderWriter<LaneBatch, LaneBatch>;

  /// Each message back.
  grpc::Status Task(grpc::ServerContext*, ServerStream* stream) override {
    LaneBatch batch;
    while (stream->Read(&batch) && stream->Write(batch)) {}
    return grpc::Status::OK;
  }
  /// One answer to each batch without messages, which follows the bytes.
  grpc::Status Data(grpc::ServerContext*, ServerStream* stream) override {
    LaneBatch batch;
    while (stream->Read(&batch)) {
      if (batch.messages_size() == 0) stream->Write(batch);
    }
    return grpc::Status::OK;
  }
};

int serve() {
  Answering service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) {
    std::fprintf(stderr, "grpc_floor: cannot listen on 127.0.0.1\n");
    return 1;
  }
  std::printf("serving at 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  for (;;) ::pause();
}

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

bool exchange(Stream& stream, const LaneBatch& there, LaneBatch& back) {
  return stream.Write(there) && stream.Read(&back);
}

bool take_trips(Stream& stream, unsigned warm_up, unsigned count) {
  LaneBatch there, back;
  there.add_messages(std::string(kTripBytes, 'x'));
  for (unsigned i = 0; i < warm_up; ++i) {
    if (!exchange(stream, there, back)) return false;
  }
  std::vector<double> took;
  for (unsigned i = 0; i < count; ++i) {
    const Clock::time_point begin = Clock::now();
    if (!exchange(stream, there, back)) return false;
    took.push_back(ns_since(begin));
  }
  for (const double ns : took) std::printf("%.0f ", ns);
  return true;
}

bool take_copy(Stream& stream, std::vector<LaneBatch>& pieces, unsigned count) {
  while (pieces.size() < count) {
    pieces.emplace_back().add_messages(std::string(kPieceBytes, 'x'));
  }
  LaneBatch back;
  const Clock::time_point begin = Clock::now();
  for (unsigned i = 0; i < count; ++i) {
    if (!stream.Write(pieces[i])) return false;
  }
  if (!exchange(stream, LaneBatch(), back)) return false;
  std::printf("%.0f ", ns_since(begin));
  return true;
}

int ask(const char* address) {
  const auto stub =
      Lanes::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext of_trips, of_copies;
  const std::unique_ptr<Stream> trips = stub->Task(&of_trips);
  const std::unique_ptr<Stream> copies = stub->Data(&of_copies);
  std::vector<LaneBatch> pieces;
  std::string word;
  while (std::cin >> word) {
    unsigned first = 0, second = 0;
    bool well = false;
    if (word == "trips" && std::cin >> first >> second) {
      well = take_trips(*trips, first, second);
    } else if (word == "copy" && std::cin >> first && first <= kPiecesMax) {
      well = take_copy(*copies, pieces, first);
    }
    if (!well) {
      std::fprintf(stderr, "grpc_floor: \"%s\" failed\n", word.c_str());
      return 1;
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  of_trips.TryCancel();
  of_copies.TryCancel();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "serve" && argc == 2) return serve();
  if (what == "ask" && argc == 3) return ask(argv[2]);
  std::fprintf(stderr, "usage: grpc_floor serve | grpc_floor ask ADDRESS\n");
  return kExitUsage;
}
