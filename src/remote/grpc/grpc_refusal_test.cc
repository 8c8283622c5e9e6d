// SPDX-License-Identifier: Apache-2.0
//
// What is refused when a lane is to be connected, and that both sides go on after it.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <echelon/v1/lane.grpc.pb.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "base/fd.h"
#include "remote/grpc/lane_codec.h"
#include "remote/grpc/lane_connect.h"
#include "remote/grpc/lane_listener.h"
#include "remote/grpc/test_keys.h"
#include "remote/testing/lane_rig.h"

namespace echelon {
namespace {

/// A listener whose lanes come in one end a role.
class Listening {
 public:
  explicit Listening(const Credentials& credentials = {}, const std::string& at = "127.0.0.1:0") {
    auto made = listen_grpc_lanes(
        {.address = at,
         .credentials = credentials,
         .token = "right",
         .options = [this](LaneRole role) { return end(role).options(); },
         .accept = [this](LaneRole role,
                          std::unique_ptr<Lane> lane) { end(role).take(std::move(lane)); }});
    status_ = made.ok() ? Status() : made.status();
    if (made.ok()) listener_ = std::move(*made);
  }
  ~Listening() { listener_.reset(); }

  const Status& status() const { return status_; }
  std::string address() const { return listener_->address(); }
  void stop() { listener_.reset(); }
  LaneEnd& end(LaneRole role) { return ends_[static_cast<std::size_t>(role) - 1]; }

 private:
  std::array<LaneEnd, 3> ends_;
  Status status_;
  std::unique_ptr<LaneListener> listener_;
};

LaneConnect to(const std::string& address, std::string token = "right") {
  LaneConnect where;
  where.address = address;
  where.token = std::move(token);
  where.timeout = std::chrono::seconds(5);
  return where;
}

Status refusal(const LaneConnect& where) {
  auto lane = connect_grpc_lane(where, {});
  return lane.ok() ? Status() : lane.status();
}

void expect_words(const Status& status, std::initializer_list<const char*> words) {
  ASSERT_FALSE(status.ok());
  for (const char* word : words) {
    EXPECT_NE(status.info().message.find(word), std::string::npos)
        << word << " is not in: " << status.info().message;
  }
}

void expect_serving(Listening& listening, LaneConnect where) {
  LaneEnd here;
  auto lane = connect_grpc_lane(where, here.options());
  ASSERT_TRUE(lane.ok()) << lane.status().to_string();
  here.take(std::move(*lane));
  LaneEnd& there = listening.end(where.role);
  ASSERT_TRUE(there.await_lane());
  EXPECT_EQ(here.send("ping"), LaneSend::kSent);
  ASSERT_TRUE(there.poll_until_messages(1));
  EXPECT_EQ(there.send("pong"), LaneSend::kSent);
  EXPECT_TRUE(here.poll_until_messages(1));
}

/// A TCP socket that listens and, when told, says something to whoever connects.
class Stranger {
 public:
  Stranger() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(socket_.get(), 8), 0);
    ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    address_ = fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
  }
  ~Stranger() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  void answer_with(std::string text) {
    thread_ = std::thread([this, text = std::move(text)] {
      for (;;) {
        const UniqueFd peer(::accept(socket_.get(), nullptr, nullptr));
        if (!peer) return;
        ::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL);
        std::array<char, 4096> heard;
        ::recv(peer.get(), heard.data(), heard.size(), 0);
      }
    });
  }
  const std::string& address() const { return address_; }

 private:
  UniqueFd socket_;
  std::string address_;
  std::thread thread_;
};

TEST(GrpcRefusalTest, AWrongTokenIsRefusedAndTheListenerGoesOn) {
  Listening listening;
  const Status status = refusal(to(listening.address(), "wrong"));
  expect_words(status, {listening.address().c_str(), "does not know this token"});
  EXPECT_EQ(status.code(), Code::kUnauthenticated);
  EXPECT_EQ(status.reason(), Reason::kSystem);
  expect_serving(listening, to(listening.address()));
}

TEST(GrpcRefusalTest, ATokenIsGoodOnceARole) {
  Listening listening;
  expect_serving(listening, to(listening.address()));
  expect_words(refusal(to(listening.address())), {"used already for the task lane"});
  LaneConnect data = to(listening.address());
  data.role = LaneRole::kData;
  expect_serving(listening, data);
  LaneConnect health = to(listening.address());
  health.role = LaneRole::kHealth;
  expect_serving(listening, health);
}

TEST(GrpcRefusalTest, ATokenThatIsNoneIsRefusedBeforeAnythingIsSent) {
  for (const std::string& token :
       {std::string(), std::string("a b"), std::string("\n"), std::string(257, 'x')}) {
    EXPECT_EQ(refusal(to("127.0.0.1:1", token)).reason(), Reason::kBadArgument);
  }
}

TEST(GrpcRefusalTest, PlainTextBetweenMachinesNeedsInsecure) {
  const Status out = refusal(to("192.0.2.1:9"));
  EXPECT_EQ(out.reason(), Reason::kBadArgument);
  expect_words(out, {"192.0.2.1:9", "no TLS", "echelon keys", "insecure"});
  const Listening in({}, "0.0.0.0:0");
  EXPECT_EQ(in.status().reason(), Reason::kBadArgument);
  Listening allowed({.tls_dir = "", .insecure = true}, "0.0.0.0:0");
  ASSERT_TRUE(allowed.status().ok()) << allowed.status().to_string();
  const std::string port = allowed.address().substr(allowed.address().rfind(':'));
  expect_serving(allowed, to("127.0.0.1" + port));
}

TEST(GrpcRefusalTest, WhereNobodyListens) {
  std::string address;
  {
    const Stranger gone;
    address = gone.address();
  }
  const Status status = refusal(to(address));
  EXPECT_EQ(status.reason(), Reason::kSystem);
  expect_words(status, {address.c_str(), "nobody listens there"});
}

TEST(GrpcRefusalTest, AHostNameThatDoesNotResolve) {
  LaneConnect where = to("no-such-host.invalid:7");
  where.credentials.insecure = true;
  expect_words(refusal(where), {"no-such-host.invalid:7", "host name does not resolve"});
}

TEST(GrpcRefusalTest, WhoAcceptsAndNeverAnswers) {
  const Stranger silent;
  LaneConnect where = to(silent.address());
  where.timeout = std::chrono::milliseconds(300);
  const Status status = refusal(where);
  EXPECT_EQ(status.reason(), Reason::kDeadline);
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  expect_words(status, {silent.address().c_str(), "within 0.3 s", "accepts and says nothing"});
}

TEST(GrpcRefusalTest, WhereSomethingElseAnswers) {
  Stranger web;
  web.answer_with("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  expect_words(refusal(to(web.address())), {web.address().c_str(), "something else answers there"});
  Stranger noise;
  noise.answer_with(std::string(64, '\xFF'));
  expect_words(refusal(to(noise.address())), {noise.address().c_str(), "something else answers"});
}

TEST(GrpcRefusalTest, WhereAnotherGrpcServiceAnswers) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  grpc::CallbackGenericService other;  // answers every call that it is UNIMPLEMENTED
  builder.RegisterCallbackGenericService(&other);
  const auto server = builder.BuildAndStart();
  expect_words(refusal(to(fmt::format("127.0.0.1:{}", port))), {"a gRPC server answers there"});
}

// --- versions ------------------------------------------------------------------------------------

/// A parent or a session of another version, by protobuf's own code.
class OldSession final : public v1::Lanes::Service {
 public:
  grpc::Status Task(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<v1::LaneBatch, v1::LaneBatch>* stream) override {
    context->AddInitialMetadata("echelon-protocol", "7.3");
    stream->SendInitialMetadata();
    v1::LaneBatch batch;
    while (stream->Read(&batch)) {}
    return grpc::Status::OK;
  }
};

TEST(GrpcRefusalTest, ASessionOfAnotherVersionIsRefusedWithBothNamed) {
  OldSession session;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&session);
  const auto server = builder.BuildAndStart();
  const Status status = refusal(to(fmt::format("127.0.0.1:{}", port)));
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  expect_words(status, {"7.3", "1.0"});
}

/// A parent by protobuf's own code.
class Parent {
 public:
  Parent(const std::string& address, const char* version, const char* token = "right")
      : stub_(
            v1::Lanes::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))) {
    if (version != nullptr) context_.AddMetadata("echelon-protocol", version);
    context_.AddMetadata("echelon-token", token);
    stream_ = stub_->Task(&context_);
  }
  grpc::ClientReaderWriter<v1::LaneBatch, v1::LaneBatch>& stream() { return *stream_; }
  grpc::Status finish() {
    v1::LaneBatch batch;
    while (stream_->Read(&batch)) {}
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::Lanes::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::LaneBatch, v1::LaneBatch>> stream_;
};

TEST(GrpcRefusalTest, AParentOfAnotherVersionIsRefusedWithBothNamed) {
  Listening listening;
  for (const char* version : {"2.0", "0.9", "", "one", static_cast<const char*>(nullptr)}) {
    const grpc::Status status = Parent(listening.address(), version).finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_NE(status.error_message().find("and this one 1.0"), std::string::npos)
        << status.error_message();
  }
  expect_serving(listening, to(listening.address()));
}

TEST(GrpcRefusalTest, AParentOfALaterMinorVersionIsLetIn) {
  Listening listening;
  Parent parent(listening.address(), "1.9");
  v1::LaneBatch batch;
  batch.add_messages("from protobuf");
  ASSERT_TRUE(parent.stream().Write(batch));
  LaneEnd& there = listening.end(LaneRole::kTask);
  ASSERT_TRUE(there.await_lane());
  ASSERT_TRUE(there.poll_until_messages(1));
  EXPECT_EQ(there.send("to protobuf"), LaneSend::kSent);
  ASSERT_TRUE(parent.stream().Read(&batch));
  EXPECT_EQ(batch.messages(0), "to protobuf");
  there.lane().close(Status());
  EXPECT_TRUE(parent.finish().ok());
}

TEST(GrpcRefusalTest, ABatchBeyondItsLimitsEndsTheLaneAndNothingElse) {
  Listening listening;
  Parent parent(listening.address(), "1.0");
  v1::LaneBatch batch;
  for (std::size_t i = 0; i <= kBatchMessagesMax; ++i) batch.add_messages("");
  parent.stream().Write(batch);
  LaneEnd& there = listening.end(LaneRole::kTask);
  ASSERT_TRUE(there.await_lane());
  ASSERT_TRUE(there.poll_until_down());
  expect_words(there.downs.at(0), {"no LaneBatch", "1024 messages"});
  v1::LaneBatch words;
  ASSERT_TRUE(parent.stream().Read(&words));
  EXPECT_TRUE(words.has_closed());
  LaneConnect health = to(listening.address());
  health.role = LaneRole::kHealth;
  expect_serving(listening, health);
}

TEST(GrpcRefusalTest, WhatABatchHoldsBesideItsMessagesFillsNoMemory) {
  Listening listening;
  Parent parent(listening.address(), "1.0");
  v1::LaneBatch batch;
  batch.add_messages("small");
  constexpr int kUnknownField = 15;
  *batch.GetReflection()->MutableUnknownFields(&batch)->AddLengthDelimited(kUnknownField) =
      std::string(kLaneMessageBytesMax, 'x');
  std::atomic<std::size_t> sent{0};
  std::thread writer([&] {
    while (parent.stream().Write(batch)) sent.fetch_add(1);
  });
  LaneEnd& there = listening.end(LaneRole::kTask);
  ASSERT_TRUE(there.await_lane());
  // Nobody polls: as much is read as fits, and the writer waits.
  std::size_t before = 0;
  do {
    before = sent.load();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  } while (sent.load() != before && before * kLaneMessageBytesMax < 8 * kLaneBufferBytes);
  EXPECT_LT(before * kLaneMessageBytesMax, 8 * kLaneBufferBytes);
  // It goes on once they are taken.
  EXPECT_TRUE(there.poll_until_messages(before + 2));
  there.destroy_lane();
  writer.join();
}

// --- certificates --------------------------------------------------------------------------------

class GrpcTlsTest : public testing::Test {
 protected:
  LaneConnect with(const std::string& keys) {
    LaneConnect where = to(listening_.address());
    where.credentials.tls_dir = keys;
    return where;
  }

  TestKeys keys_;
  std::string good_ = keys_.issue({});
  Listening listening_{{.tls_dir = good_, .insecure = false}};
};

TEST_F(GrpcTlsTest, ACertificateOfAnotherAuthorityIsRefused) {
  TestKeys others;
  const Status status = refusal(with(others.issue({})));
  EXPECT_EQ(status.reason(), Reason::kSystem);
  expect_words(status, {listening_.address().c_str(), "certificate"});
  expect_serving(listening_, with(good_));
}

std::string text_of(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(GrpcTlsTest, AKeyThatOthersCanReadIsRefused) {
  const std::string keys = keys_.issue({});
  const std::string key = keys + "/host.key";
  std::filesystem::permissions(key, std::filesystem::perms::group_read,
                               std::filesystem::perm_options::add);
  expect_words(refusal(with(keys)), {"mode 0640", "run `chmod 600 ", key.c_str()});
  const Listening listening({.tls_dir = keys, .insecure = false});
  expect_words(listening.status(), {"run `chmod 600 "});
  expect_serving(listening_, with(good_));
}

TEST_F(GrpcTlsTest, OnesOwnExpiredCertificateIsRefusedAtOnce) {
  const std::string expired = keys_.issue({.host = "127.0.0.1", .expired = true});
  expect_words(refusal(with(expired)), {"host.pem has expired, on ", "issue a new one"});
  const Listening listening({.tls_dir = expired, .insecure = false});
  expect_words(listening.status(), {"host.pem has expired"});
}

TEST_F(GrpcTlsTest, AParentsExpiredCertificateIsRefused) {
  // One that does not look at its own.
  const std::string expired = keys_.issue({.host = "127.0.0.1", .expired = true});
  const auto channel =
      grpc::CreateChannel(listening_.address(),
                          grpc::SslCredentials({.pem_root_certs = text_of(expired + "/ca.pem"),
                                                .pem_private_key = text_of(expired + "/host.key"),
                                                .pem_cert_chain = text_of(expired + "/host.pem")}));
  grpc::ClientContext context;
  context.AddMetadata("echelon-protocol", "1.0");
  context.AddMetadata("echelon-token", "right");
  const auto stream = v1::Lanes::NewStub(channel)->Task(&context);
  v1::LaneBatch batch;
  EXPECT_FALSE(stream->Read(&batch));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  expect_serving(listening_, with(good_));
}

TEST_F(GrpcTlsTest, ASessionsExpiredCertificateIsRefused) {
  const std::string expired = keys_.issue({.host = "127.0.0.1", .expired = true});
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({.private_key = text_of(expired + "/host.key"),
                                        .cert_chain = text_of(expired + "/host.pem")});
  OldSession session;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port);
  builder.RegisterService(&session);
  const auto server = builder.BuildAndStart();
  LaneConnect where = with(good_);
  where.address = fmt::format("127.0.0.1:{}", port);
  expect_words(refusal(where), {"certificate", "expired"});
}

TEST_F(GrpcTlsTest, ACertificateOfAnotherHostIsRefused) {
  Listening elsewhere(
      {.tls_dir = keys_.issue({.host = "192.0.2.7", .expired = false}), .insecure = false});
  LaneConnect where = with(good_);
  where.address = elsewhere.address();
  expect_words(refusal(where), {"not made out to that host"});
}

TEST_F(GrpcTlsTest, PlainTextToAListenerWithTlsIsRefused) {
  expect_words(refusal(to(listening_.address())), {"it wants TLS"});
  expect_serving(listening_, with(good_));
}

TEST_F(GrpcTlsTest, TlsToAListenerInPlainTextIsRefused) {
  Listening plain;
  LaneConnect where = with(good_);
  where.address = plain.address();
  expect_words(refusal(where), {"does not speak TLS"});
  expect_serving(plain, to(plain.address()));
}

TEST_F(GrpcTlsTest, FilesThatAreNoKeysAreNamed) {
  expect_words(refusal(with("/nonexistent")), {"/nonexistent/ca.pem", "No such file"});
  const std::string broken = keys_.issue({});
  std::ofstream(broken + "/host.pem") << "junk";
  expect_words(refusal(with(broken)), {"host.pem", "no certificate"});
  const std::string mixed = keys_.issue({});
  std::filesystem::copy_file(good_ + "/host.key", mixed + "/host.key",
                             std::filesystem::copy_options::overwrite_existing);
  expect_words(refusal(with(mixed)), {"host.key", "not the key of"});
}

// --- listening -----------------------------------------------------------------------------------

TEST(GrpcListenerTest, NobodyListensWithoutAToken) {
  auto made = listen_grpc_lanes(
      {.address = "127.0.0.1:0", .credentials = {}, .token = "", .options = {}, .accept = {}});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().reason(), Reason::kBadArgument);
}

TEST(GrpcListenerTest, AnAddressThatIsTakenIsRefused) {
  Listening first;
  const Listening second({}, first.address());
  expect_words(second.status(), {first.address().c_str(), "taken"});
}

TEST(GrpcListenerTest, LanesGoOnWithoutTheListenerAndNobodyElseComesIn) {
  Listening listening;
  LaneEnd here;
  auto lane = connect_grpc_lane(to(listening.address()), here.options());
  ASSERT_TRUE(lane.ok()) << lane.status().to_string();
  here.take(std::move(*lane));
  LaneEnd& there = listening.end(LaneRole::kTask);
  ASSERT_TRUE(there.await_lane());
  const std::string address = listening.address();
  listening.stop();
  EXPECT_EQ(here.send("still here"), LaneSend::kSent);
  EXPECT_TRUE(there.poll_until_messages(1));
  LaneConnect data = to(address);
  data.role = LaneRole::kData;
  EXPECT_FALSE(refusal(data).ok());
}

TEST(GrpcListenerTest, AUnixSocketServesToo) {
  const TestKeys folder;
  Listening listening({}, "unix:" + (folder.folder() / "lanes").string());
  ASSERT_TRUE(listening.status().ok()) << listening.status().to_string();
  expect_serving(listening, to(listening.address()));
}

}  // namespace
}  // namespace echelon
