// SPDX-License-Identifier: Apache-2.0
//
// A parent's calls against a daemon's service, both over loopback; the daemon behind the service is
// the test.
#include <arpa/inet.h>
#include <echelon/v1/session.grpc.pb.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <condition_variable>
#include <csignal>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/error_codec.h"
#include "base/fd.h"
#include "remote/grpc/control_client.h"
#include "remote/grpc/control_limits.h"
#include "remote/grpc/control_server.h"
#include "remote/grpc/manifest_codec.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::chrono::seconds kWatchdog{20};

/// What a test waits on.
class Bell {
 public:
  void ring(const std::function<void()>& change) {
    const std::lock_guard lock(mutex_);
    change();
    signal_.notify_all();
  }
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return signal_.wait_for(lock, kWatchdog, condition);
  }

 private:
  std::mutex mutex_;
  std::condition_variable signal_;
};

class Heard final : public SessionEvents {
 public:
  void on_phase(std::string_view phase) override {
    bell_.ring([&] { phases.emplace_back(phase); });
  }
  void on_ready(const SessionReady& with) override {
    bell_.ring([&] { ready = with; });
  }
  void on_ended(const Status& why) override {
    bell_.ring([&] {
      ended = why;
      ++ends;
    });
  }
  bool until_ready() {
    return bell_.wait([this] { return ready.session != 0; });
  }
  bool until_ended() {
    return bell_.wait([this] { return ends != 0; });
  }

  std::vector<std::string> phases;
  SessionReady ready;
  Status ended;
  int ends = 0;

 private:
  Bell bell_;
};

class FakeDaemon final : public DaemonHooks {
 public:
  Status open_session(std::uint64_t call, SessionManifest manifest,
                      std::shared_ptr<SessionTicket> ticket) override {
    if (!refusal.ok()) return refusal;
    bell_.ring([&] {
      tickets[call] = std::move(ticket);
      last = std::move(manifest);
    });
    return {};
  }
  void close_session(std::uint64_t call, std::string_view why) override {
    std::shared_ptr<SessionTicket> ticket;
    bell_.ring([&] {
      closed.emplace_back(why);
      if (end_when_closed) std::swap(ticket, tickets[call]);
    });
    if (ticket != nullptr) {
      ticket->ended(Status::error(Code::kCancelled, Reason::kCancelled, std::string(why)));
    }
  }
  bool serving() const override { return healthy; }
  Status admit_call() override { return full; }
  std::uint64_t manifest_bytes_max() const override { return std::uint64_t{32} << 20; }

  std::shared_ptr<SessionTicket> opened() {
    bell_.wait([this] { return !tickets.empty(); });
    return tickets.empty() ? nullptr : tickets.begin()->second;
  }
  bool until_closed() {
    return bell_.wait([this] { return !closed.empty(); });
  }

  Status refusal;
  Status full;
  bool healthy = true;
  bool end_when_closed = true;
  std::map<std::uint64_t, std::shared_ptr<SessionTicket>> tickets;
  std::vector<std::string> closed;
  SessionManifest last;

 private:
  Bell bell_;
};

SessionManifest small_manifest() {
  SessionManifest manifest;
  manifest.path = "pod0/host1";
  manifest.name = "host1";
  return manifest;
}

SessionReady some_ready() {
  SessionReady ready;
  ready.session = 4;
  ready.pid = 71;
  ready.host = "node7";
  ready.address = "127.0.0.1:4711";
  ready.token = "token";
  ready.pool = Uid{12};
  return ready;
}

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    auto served = serve_daemon_calls({"127.0.0.1:0", {}}, daemon_);
    EXPECT_TRUE(served.ok()) << served.status().to_string();
    server_ = std::move(served).value();
  }
  std::unique_ptr<SessionCall> open(const SessionManifest& manifest = small_manifest()) {
    auto call = open_session_call({server_->address(), {}}, manifest, heard_);
    EXPECT_TRUE(call.ok()) << call.status().to_string();
    return std::move(call).value();
  }
  /// Nobody is behind it; bound, listening where asked to.
  static std::pair<UniqueFd, std::string> bare_port(bool listening) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
    if (listening) {
      EXPECT_EQ(::listen(fd.get(), 8), 0);
    }
    socklen_t size = sizeof(at);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
    return {std::move(fd), "127.0.0.1:" + std::to_string(ntohs(at.sin_port))};
  }
  /// What a parent that writes these hears last; it then ends its half.
  Status answer_to(const std::vector<v1::OpenSessionRequest>& requests) {
    const auto stub = v1::Sessions::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    const auto stream = stub->OpenSession(&context);
    for (const auto& request : requests) EXPECT_TRUE(stream->Write(request));
    if (requests.empty()) stream->WritesDone();
    v1::SessionEvent event;
    Status last;
    while (stream->Read(&event)) {
      if (!event.has_ended()) continue;
      const std::string& bytes = event.ended().error();
      last = Status(decode_error(std::as_bytes(std::span(bytes))).value());
    }
    EXPECT_TRUE(stream->Finish().ok()) << "how it went is in the last event";
    return last;
  }
  /// grpc.health.v1.HealthCheckResponse, as bytes: field 1, the status.
  std::string health() {
    grpc::GenericStub stub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                            grpc::ByteBuffer(nullptr, 0), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool well = false;
    EXPECT_TRUE(queue.Next(&tag, &well));
    EXPECT_TRUE(status.ok()) << status.error_message();
    grpc::Slice bytes;
    EXPECT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
    return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
  }
  Status open_at(const std::string& address, std::chrono::nanoseconds timeout = 5s) {
    Heard heard;
    auto call = open_session_call({address, {}, timeout}, small_manifest(), heard);
    if (!call.ok()) return call.status();
    EXPECT_TRUE(heard.until_ended());
    return heard.ended;
  }

  FakeDaemon daemon_;
  Heard heard_;
  std::unique_ptr<DaemonServer> server_;
};

TEST_F(ControlTest, PhasesThenReadyThenHowItEnded) {
  const auto call = open();
  const auto ticket = daemon_.opened();
  ASSERT_NE(ticket, nullptr);
  EXPECT_EQ(daemon_.last.path, "pod0/host1");
  ticket->phase("chip0: opening device");
  ticket->phase("sub1: being made");
  ticket->ready(some_ready());
  ASSERT_TRUE(heard_.until_ready());
  EXPECT_THAT(heard_.phases, ElementsAre("chip0: opening device", "sub1: being made"));
  EXPECT_EQ(heard_.ready.pid, 71);
  EXPECT_EQ(heard_.ready.host, "node7");
  EXPECT_EQ(heard_.ready.address, "127.0.0.1:4711");
  EXPECT_EQ(heard_.ready.token, "token");
  EXPECT_EQ(heard_.ready.pool, Uid{12});
  ticket->ended(Status::error(Code::kUnavailable, Reason::kChildDied, "it died"));
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(heard_.ended.info().message, "it died");
  EXPECT_EQ(heard_.ends, 1);
}

TEST_F(ControlTest, AnErrorCrossesWhole) {
  const auto call = open();
  ErrorInfo other;
  other.code = Code::kInternal;
  other.message = "the chip's driver failed, too";
  ErrorInfo info;
  info.code = Code::kUnavailable;
  info.reason = Reason::kChildDied;
  info.cause = Cause::kSignal;
  info.signal = SIGSEGV;
  info.message = "its process was killed by signal 11 (SIGSEGV)";
  info.path = "pod0/host1/sub0";
  info.host = "node7";
  info.pid = 4242;
  info.traceback = std::string(100'000, 't');
  info.others = {other};
  daemon_.opened()->ended(Status(info));
  ASSERT_TRUE(heard_.until_ended());
  const ErrorInfo& got = heard_.ended.info();
  EXPECT_EQ(got.reason, Reason::kChildDied);
  EXPECT_EQ(got.cause, Cause::kSignal);
  EXPECT_EQ(got.signal, SIGSEGV);
  EXPECT_EQ(got.message, info.message);
  EXPECT_EQ(got.path, "pod0/host1/sub0");
  EXPECT_EQ(got.host, "node7");
  EXPECT_EQ(got.pid, 4242);
  EXPECT_EQ(got.traceback, info.traceback);
  ASSERT_EQ(got.others.size(), 1u);
  EXPECT_EQ(got.others[0].message, other.message);
}

TEST_F(ControlTest, ARefusalIsTheCallersError) {
  daemon_.refusal = Status::error(Code::kResourceExhausted, Reason::kExhausted,
                                  "2 sessions are open, and 2 are allowed");
  const auto call = open();
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(heard_.ended.reason(), Reason::kExhausted);
  EXPECT_EQ(heard_.ended.info().message, "2 sessions are open, and 2 are allowed");
}

TEST_F(ControlTest, ABadManifestIsRefusedAndTheDaemonServesOn) {
  SessionManifest wrong = small_manifest();
  wrong.level = 9;
  {
    const auto call = open(wrong);
    ASSERT_TRUE(heard_.until_ended());
    EXPECT_THAT(heard_.ended.info().message, HasSubstr("level 9"));
    EXPECT_TRUE(daemon_.tickets.empty());
  }
  Heard second;
  const auto call = open_session_call({server_->address(), {}}, small_manifest(), second);
  ASSERT_TRUE(call.ok());
  const auto ticket = daemon_.opened();
  ASSERT_NE(ticket, nullptr);
  ticket->ready(some_ready());
  EXPECT_TRUE(second.until_ready());
  ticket->ended({});
}

TEST_F(ControlTest, AnotherProtocolVersionIsRefusedWithBothNamed) {
  SessionManifest newer = small_manifest();
  newer.protocol_major = 3;
  const auto call = open(newer);
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(heard_.ended.code(), Code::kUnimplemented);
  EXPECT_THAT(heard_.ended.info().message, HasSubstr("3.0"));
  EXPECT_THAT(heard_.ended.info().message, HasSubstr("1.0"));
}

TEST_F(ControlTest, AManifestOfMegabytesCrosses) {
  SessionManifest manifest = small_manifest();
  const std::string library(std::size_t{24} << 20, 'b');
  manifest.libraries.push_back(
      {"big.so", Payload::make(std::as_bytes(std::span(library))).value(), sha256(library)});
  const auto call = open(manifest);
  ASSERT_NE(daemon_.opened(), nullptr);
  EXPECT_EQ(daemon_.last.libraries[0].payload->bytes().size(), library.size());
  daemon_.opened()->ended({});
  EXPECT_TRUE(heard_.until_ended());
}

SessionManifest manifest_with(std::size_t library_bytes) {
  SessionManifest manifest = small_manifest();
  const std::string library(library_bytes, 'b');
  manifest.libraries.push_back(
      {"big.so", Payload::make(std::as_bytes(std::span(library))).value(), sha256(library)});
  return manifest;
}

TEST_F(ControlTest, AManifestBeyondTheDaemonsMemoryIsRefusedBeforeItIsReadAndItServesOn) {
  const auto call = open(manifest_with(std::size_t{40} << 20));
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(heard_.ended.reason(), Reason::kExhausted);
  EXPECT_THAT(heard_.ended.info().message, HasSubstr("33554432 may be at once (--memory)"));
  EXPECT_TRUE(daemon_.tickets.empty());
  Heard second;
  const auto next =
      open_session_call({server_->address(), {}}, manifest_with(std::size_t{24} << 20), second);
  ASSERT_NE(daemon_.opened(), nullptr) << second.ended.to_string();
  daemon_.opened()->ended({});
  EXPECT_TRUE(second.until_ended());
}

TEST_F(ControlTest, ADaemonThatIsFullRefusesALargeManifestAtItsFirstPiece) {
  daemon_.full = Status::error(Code::kResourceExhausted, Reason::kExhausted, "16 are allowed");
  const auto call = open(manifest_with(std::size_t{24} << 20));
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_THAT(heard_.ended.info().message, HasSubstr("16 are allowed"));
  EXPECT_TRUE(daemon_.tickets.empty());
}

TEST_F(ControlTest, AMessageLargerThanAPieceEndsItsCallAndNothingElse) {
  const auto stub = v1::Sessions::NewStub(
      grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto stream = stub->OpenSession(&context);
  v1::OpenSessionRequest request;
  to_wire(manifest_with(std::size_t{3} << 20), *request.mutable_manifest());
  stream->Write(request);
  v1::SessionEvent event;
  while (stream->Read(&event)) {}
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto call = open();
  ASSERT_NE(daemon_.opened(), nullptr);
  daemon_.opened()->ended({});
  EXPECT_TRUE(heard_.until_ended());
}

TEST_F(ControlTest, EndingItReachesTheDaemonWithItsReason) {
  const auto call = open();
  ASSERT_NE(daemon_.opened(), nullptr);
  call->end("the Worker was closed");
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_THAT(daemon_.closed, ElementsAre("the Worker was closed"));
  EXPECT_EQ(heard_.ended.reason(), Reason::kCancelled);
}

TEST_F(ControlTest, AParentThatLetsGoEndsTheSession) {
  {
    const auto call = open();
    ASSERT_NE(daemon_.opened(), nullptr);
  }
  ASSERT_TRUE(daemon_.until_closed());
  EXPECT_THAT(daemon_.closed[0], HasSubstr("its parent"));
  EXPECT_EQ(heard_.ends, 1);
}

TEST_F(ControlTest, ADaemonThatEndsTellsItsCalls) {
  const auto call = open();
  const auto ticket = daemon_.opened();
  ASSERT_NE(ticket, nullptr);
  server_.reset();
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(heard_.ended.code(), Code::kUnavailable);
  EXPECT_THAT(heard_.ended.info().message, HasSubstr("the daemon ends"));
  ticket->ended({});  // too late, and harmless
  EXPECT_EQ(heard_.ends, 1);
}

TEST_F(ControlTest, AMessageThatIsNotKnownIsRefused) {
  const Status why = answer_to({v1::OpenSessionRequest()});
  EXPECT_EQ(why.reason(), Reason::kBadFrame);
  EXPECT_THAT(why.info().message, HasSubstr("a message that this version does not know"));
}

TEST_F(ControlTest, AnEndBeforeASessionIsRefused) {
  v1::OpenSessionRequest end;
  end.mutable_end()->set_why("early");
  EXPECT_THAT(answer_to({end}).info().message, HasSubstr("before there was a session"));
}

TEST_F(ControlTest, ASecondManifestEndsTheSessionAndTheCall) {
  v1::OpenSessionRequest request;
  to_wire(small_manifest(), *request.mutable_manifest());
  daemon_.end_when_closed = false;
  const Status why = answer_to({request, request});
  EXPECT_THAT(why.info().message, HasSubstr("one call is one session"));
  ASSERT_TRUE(daemon_.until_closed());
  EXPECT_THAT(daemon_.closed[0], HasSubstr("second manifest"));
}

TEST_F(ControlTest, ACallThatEndsWithoutAManifestIsToldSo) {
  EXPECT_THAT(answer_to({}).info().message, HasSubstr("before there was a manifest"));
}

TEST_F(ControlTest, TheHealthServiceSaysWhetherSessionsCanBeOpened) {
  EXPECT_EQ(health(), "\x08\x01") << "SERVING";
  daemon_.healthy = false;
  daemon_.refusal = Status::error(Code::kUnavailable, Reason::kSpawnerLost, "spawner lost");
  const auto call = open();
  ASSERT_TRUE(heard_.until_ended());
  EXPECT_EQ(health(), "\x08\x02") << "NOT_SERVING";
}

TEST_F(ControlTest, WhereNobodyListensTheErrorSaysSo) {
  const auto [closed, address] = bare_port(false);
  const Status why = open_at(address);
  EXPECT_EQ(why.code(), Code::kUnavailable);
  EXPECT_EQ(why.info().path, "pod0/host1");
  EXPECT_THAT(why.info().message, HasSubstr(address));
  EXPECT_THAT(why.info().message, HasSubstr("nobody listens there"));
}

TEST_F(ControlTest, WhoAcceptsAndNeverAnswersIsGivenUp) {
  const auto [silent, address] = bare_port(true);
  const Status why = open_at(address, 300ms);
  EXPECT_EQ(why.info().cause, Cause::kPeerLost);
  EXPECT_THAT(why.info().message, HasSubstr(address));
}

TEST_F(ControlTest, AnotherServiceAtThePortIsToldFromADaemon) {
  grpc::ServerBuilder builder;
  int port = 0;
  grpc::CallbackGenericService knows_nothing;
  builder.RegisterCallbackGenericService(&knows_nothing);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  const auto other = builder.BuildAndStart();
  const Status why = open_at("127.0.0.1:" + std::to_string(port));
  EXPECT_EQ(why.code(), Code::kUnimplemented);
  EXPECT_THAT(why.info().message, HasSubstr("it is no Echelon"));
}

TEST_F(ControlTest, AHostNameThatDoesNotResolveIsNamed) {
  const Status why = open_at("no-such-host.invalid:7171", 10s);
  EXPECT_THAT(why.info().message, HasSubstr("no-such-host.invalid"));
}

TEST_F(ControlTest, AnAddressThatIsTakenIsRefused) {
  FakeDaemon second;
  const auto served = serve_daemon_calls({server_->address(), {}}, second);
  ASSERT_FALSE(served.ok());
  EXPECT_EQ(served.status().reason(), Reason::kSystem);
  EXPECT_THAT(served.status().info().message, HasSubstr(server_->address()));
}

class SessionAddressTest : public ControlTest, public testing::WithParamInterface<const char*> {};

TEST_P(SessionAddressTest, IsThePortItSaysOnTheHostThatTheUserNamed) {
  const auto call = open();
  SessionReady ready = some_ready();
  ready.address = GetParam();
  const auto ticket = daemon_.opened();
  ASSERT_NE(ticket, nullptr);
  ticket->ready(ready);
  ASSERT_TRUE(heard_.until_ready());
  EXPECT_EQ(heard_.ready.address, "127.0.0.1:4711");
  ticket->ended({});
}

INSTANTIATE_TEST_SUITE_P(Said, SessionAddressTest,
                         testing::Values("0.0.0.0:4711", "[::]:4711", ":4711", "10.9.8.7:4711",
                                         "other.example:4711", "[2001:db8::1]:4711"));

TEST_F(ControlTest, ASessionThatListensWhereItsDaemonCannotBeIsNonsense) {
  for (const char* address : {"unix:/tmp/elsewhere", "host7:port", "nowhere"}) {
    Heard heard;
    const auto call = open_session_call({server_->address(), {}}, small_manifest(), heard);
    const auto ticket = daemon_.opened();
    ASSERT_NE(ticket, nullptr);
    SessionReady ready = some_ready();
    ready.address = address;
    ticket->ready(ready);
    ASSERT_TRUE(heard.until_ended()) << address;
    EXPECT_THAT(heard.ended.info().message,
                AllOf(HasSubstr("speaks nonsense"), HasSubstr(address)));
    EXPECT_EQ(heard.ready.session, 0u);
    ticket->ended({});
    daemon_.tickets.clear();
  }
}

}  // namespace
}  // namespace echelon
