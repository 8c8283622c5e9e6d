// SPDX-License-Identifier: Apache-2.0
#include "process/spawn_protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/codec.h"
#include "base/error_codec.h"

namespace echelon {
namespace {

constexpr std::uint8_t kVersion = 1;

enum class MessageKind : std::uint8_t {
  kSpawn = 1,
  kKill = 2,
  kShutdown = 3,
  kSpawned = 16,
  kExited = 17,
  kOutput = 18,
  kFailed = 19,
};

class MessageWriter {
 public:
  MessageWriter(MessageKind kind, ChildIndex index) : bytes_(kSpawnMessageBytesMax), out_(bytes_) {
    out_.put(kVersion);
    out_.put(kind);
    out_.put(std::uint16_t{0});
    out_.put(index.value);
  }
  template <class T>
  void put(T value) {
    out_.put(value);
  }
  void put_zeros(std::size_t count) { out_.put_zeros(count); }
  void put_text(std::string_view text) {
    // A longer one overruns the buffer too, so that the cut size is never seen.
    out_.put(static_cast<std::uint32_t>(std::min<std::size_t>(text.size(), kSpawnMessageBytesMax)));
    out_.put_text(text);
  }
  void put_bytes(std::span<const std::byte> bytes) {
    out_.put(static_cast<std::uint32_t>(bytes.size()));
    out_.put_bytes(bytes);
  }
  std::size_t remaining() const { return out_.remaining(); }

  Result<std::vector<std::byte>> finish() {
    if (!out_.ok()) {
      return Status::error(
          Code::kInvalidArgument, Reason::kTooLarge,
          fmt::format(
              "a message to or from the spawner is larger than {} bytes; give a child fewer "
              "or shorter arguments",
              kSpawnMessageBytesMax));
    }
    bytes_.resize(out_.size());
    return std::move(bytes_);
  }

 private:
  std::vector<std::byte> bytes_;
  ByteWriter out_;
};

Result<std::vector<std::byte>> encode_one(const SpawnRequest& request) {
  const ChildSpec& spec = request.spec;
  if (spec.arguments.size() > kSpawnArgumentsMax) {
    return Status::error(Code::kInvalidArgument, Reason::kTooLarge,
                         fmt::format("{}: {} arguments, at most {}", spec.path,
                                     spec.arguments.size(), kSpawnArgumentsMax));
  }
  MessageWriter out(MessageKind::kSpawn, spec.index);
  out.put(spec.kind);
  out.put(static_cast<std::uint8_t>(spec.in_runner));
  out.put_zeros(2);
  out.put(static_cast<std::int32_t>(request.expected_parent));
  out.put(spec.uid.value);
  out.put_text(spec.path);
  out.put_text(spec.name);
  out.put(static_cast<std::uint16_t>(spec.arguments.size()));
  for (const std::string& argument : spec.arguments) out.put_text(argument);
  return out.finish();
}

Result<std::vector<std::byte>> encode_one(const KillRequest& request) {
  return MessageWriter(MessageKind::kKill, request.index).finish();
}

Result<std::vector<std::byte>> encode_one(const ShutdownRequest& request) {
  MessageWriter out(MessageKind::kShutdown, ChildIndex{});
  out.put(request.kill_after_ms);
  return out.finish();
}

Result<std::vector<std::byte>> encode_one(const SpawnedReport& report) {
  MessageWriter out(MessageKind::kSpawned, report.index);
  out.put(static_cast<std::int32_t>(report.pid));
  return out.finish();
}

Result<std::vector<std::byte>> encode_one(const ExitedReport& report) {
  MessageWriter out(MessageKind::kExited, report.index);
  out.put(static_cast<std::int32_t>(report.exit.pid));
  out.put(static_cast<std::int32_t>(report.exit.wait_status));
  out.put(report.exit.user_us);
  out.put(report.exit.system_us);
  out.put(report.exit.max_rss_kib);
  out.put_text(std::string_view(report.exit.stderr_tail).substr(0, kStderrTailBytes));
  return out.finish();
}

Result<std::vector<std::byte>> encode_one(const OutputReport& report) {
  MessageWriter out(MessageKind::kOutput, report.index);
  out.put(report.stream);
  out.put_zeros(3);
  out.put_text(report.text);
  return out.finish();
}

Result<std::vector<std::byte>> encode_one(const FailedReport& report) {
  MessageWriter out(MessageKind::kFailed, report.index);
  out.put_bytes(encode_error(report.why.info(), out.remaining() - sizeof(std::uint32_t)));
  return out.finish();
}

Status bad(std::string what) {
  return Status::error(Code::kDataLoss, Reason::kBadFrame, "spawner message: " + std::move(what));
}

// Header, then the fields in order; every text is bounded by the message.
class MessageReader {
 public:
  explicit MessageReader(std::span<const std::byte> bytes) : in_(bytes) {
    version_ = in_.get<std::uint8_t>();
    kind_ = in_.get<std::uint8_t>();
    zero_ = in_.get<std::uint16_t>();
    index_ = ChildIndex{in_.get<std::uint32_t>()};
  }
  Status header() const {
    if (!in_.ok()) return bad("shorter than its header");
    if (version_ != kVersion)
      return bad(fmt::format("version {}, expected {}", version_, kVersion));
    if (zero_ != 0) return bad("reserved bytes are not zero");
    return Status();
  }
  MessageKind kind() const { return static_cast<MessageKind>(kind_); }
  ChildIndex index() const { return index_; }
  template <class T>
  T get() {
    return in_.get<T>();
  }
  void skip(std::size_t count) { in_.bytes(count); }
  std::string text() { return std::string(in_.text(in_.get<std::uint32_t>())); }
  std::span<const std::byte> bytes() { return in_.bytes(in_.get<std::uint32_t>()); }
  bool complete() const { return in_.ok() && in_.remaining() == 0; }

 private:
  ByteReader in_;
  std::uint8_t version_ = 0;
  std::uint8_t kind_ = 0;
  std::uint16_t zero_ = 0;
  ChildIndex index_;
};

Result<DownMessage> decode_spawn(MessageReader& in) {
  SpawnRequest request;
  request.spec.index = in.index();
  const auto kind = in.get<std::uint8_t>();
  const auto in_runner = in.get<std::uint8_t>();
  in.skip(2);
  request.expected_parent = in.get<std::int32_t>();
  request.spec.uid = Uid{in.get<std::uint64_t>()};
  request.spec.path = in.text();
  request.spec.name = in.text();
  const auto count = in.get<std::uint16_t>();
  if (count > kSpawnArgumentsMax) return bad(fmt::format("{} arguments", count));
  for (unsigned i = 0; i < count; ++i) request.spec.arguments.push_back(in.text());
  if (!in.complete()) return bad("a Spawn of the wrong length");
  if (kind > static_cast<std::uint8_t>(ChildKind::kWorker)) {
    return bad(fmt::format("child kind {}", kind));
  }
  request.spec.kind = static_cast<ChildKind>(kind);
  if (in_runner > 1 || (in_runner == 1 && request.spec.kind != ChildKind::kWorker)) {
    return bad(fmt::format("a child of kind {} in a runner ({})", kind, in_runner));
  }
  request.spec.in_runner = in_runner == 1;
  return DownMessage(std::move(request));
}

Result<UpMessage> decode_exited(MessageReader& in) {
  ExitedReport report;
  report.index = in.index();
  report.exit.pid = in.get<std::int32_t>();
  report.exit.wait_status = in.get<std::int32_t>();
  report.exit.user_us = in.get<std::uint64_t>();
  report.exit.system_us = in.get<std::uint64_t>();
  report.exit.max_rss_kib = in.get<std::uint64_t>();
  report.exit.stderr_tail = in.text();
  if (!in.complete()) return bad("an Exited of the wrong length");
  return UpMessage(std::move(report));
}

Result<UpMessage> decode_output(MessageReader& in) {
  OutputReport report;
  report.index = in.index();
  const auto stream = in.get<std::uint8_t>();
  in.skip(3);
  report.text = in.text();
  if (!in.complete()) return bad("an Output of the wrong length");
  if (stream != 1 && stream != 2) return bad(fmt::format("output stream {}", stream));
  report.stream = static_cast<OutputStream>(stream);
  return UpMessage(std::move(report));
}

Result<UpMessage> decode_failed(MessageReader& in) {
  const auto bytes = in.bytes();
  if (!in.complete()) return bad("a Failed of the wrong length");
  ECHELON_ASSIGN_OR_RETURN(ErrorInfo info, decode_error(bytes));
  if (info.code == Code::kOk) return bad("a Failed without an error");
  return UpMessage(FailedReport{in.index(), Status(std::move(info))});
}

}  // namespace

Result<std::vector<std::byte>> encode(const DownMessage& message) {
  return std::visit([](const auto& one) { return encode_one(one); }, message);
}

Result<std::vector<std::byte>> encode(const UpMessage& message) {
  return std::visit([](const auto& one) { return encode_one(one); }, message);
}

Result<DownMessage> decode_down(std::span<const std::byte> bytes) {
  MessageReader in(bytes);
  ECHELON_RETURN_IF_ERROR(in.header());
  switch (in.kind()) {
    case MessageKind::kSpawn:
      return decode_spawn(in);
    case MessageKind::kKill:
      if (!in.complete()) return bad("a Kill of the wrong length");
      return DownMessage(KillRequest{in.index()});
    case MessageKind::kShutdown: {
      const ShutdownRequest request{in.get<std::uint32_t>()};
      if (!in.complete()) return bad("a Shutdown of the wrong length");
      return DownMessage(request);
    }
    default:
      return bad(fmt::format("kind {} going down", static_cast<unsigned>(in.kind())));
  }
}

Result<UpMessage> decode_up(std::span<const std::byte> bytes) {
  MessageReader in(bytes);
  ECHELON_RETURN_IF_ERROR(in.header());
  switch (in.kind()) {
    case MessageKind::kSpawned: {
      const SpawnedReport report{in.index(), in.get<std::int32_t>()};
      if (!in.complete() || report.pid <= 0) return bad("a Spawned without a pid");
      return UpMessage(report);
    }
    case MessageKind::kExited:
      return decode_exited(in);
    case MessageKind::kOutput:
      return decode_output(in);
    case MessageKind::kFailed:
      return decode_failed(in);
    default:
      return bad(fmt::format("kind {} going up", static_cast<unsigned>(in.kind())));
  }
}

Status SpawnLedger::admit(const SpawnRequest& request) const {
  const ChildSpec& spec = request.spec;
  if (ending()) {
    return Status::error(Code::kFailedPrecondition, Reason::kWrongState,
                         fmt::format("{} cannot be made: its tree is being closed", spec.path));
  }
  if (children_.contains(spec.index)) {
    return Status::error(
        Code::kFailedPrecondition, Reason::kWrongState,
        fmt::format("{} cannot be made: child {} still exists", spec.path, spec.index.value));
  }
  if (children_.size() >= kSpawnerChildrenMax) {
    return Status::error(Code::kResourceExhausted, Reason::kExhausted,
                         fmt::format("{} cannot be made: a Worker has at most {} children",
                                     spec.path, kSpawnerChildrenMax));
  }
  return Status();
}

void SpawnLedger::made(ChildIndex index, pid_t pid) {
  ECHELON_CHECK(!children_.contains(index) && !by_pid_.contains(pid), index, pid);
  children_[index] = Child{.pid = pid, .announced = false};
  by_pid_[pid] = index;
}

void SpawnLedger::announced(ChildIndex index) {
  if (const auto it = children_.find(index); it != children_.end()) it->second.announced = true;
}

void SpawnLedger::announce_all() {
  for (auto& [index, child] : children_) child.announced = true;
}

SpawnLedger::Ended SpawnLedger::ended(pid_t pid) const {
  const auto it = by_pid_.find(pid);
  if (it == by_pid_.end()) return Ended::kOrphan;
  return children_.at(it->second).announced ? Ended::kReap : Ended::kWait;
}

std::optional<ChildIndex> SpawnLedger::reaped(pid_t pid) {
  const auto it = by_pid_.find(pid);
  if (it == by_pid_.end()) return std::nullopt;
  const ChildIndex index = it->second;
  ECHELON_CHECK(children_.at(index).announced, index, "SPAWN-1");
  children_.erase(index);
  by_pid_.erase(it);
  return index;
}

bool SpawnLedger::is_child(pid_t pid) const {
  return by_pid_.contains(pid);
}

std::optional<pid_t> SpawnLedger::pid_of(ChildIndex index) const {
  const auto it = children_.find(index);
  if (it == children_.end()) return std::nullopt;
  return it->second.pid;
}

std::vector<pid_t> SpawnLedger::pids() const {
  std::vector<pid_t> pids;
  pids.reserve(by_pid_.size());
  for (const auto& [pid, index] : by_pid_) pids.push_back(pid);
  return pids;
}

void SpawnLedger::begin_end(MonotonicNs now, std::chrono::milliseconds kill_after) {
  const MonotonicNs at = now + static_cast<MonotonicNs>(kill_after.count()) * 1'000'000;
  kill_at_ns_ = std::min(at, kill_at_ns_.value_or(std::numeric_limits<MonotonicNs>::max()));
}

MonotonicNs SpawnLedger::next_timer_ns() const {
  return ending() && !killed_ ? *kill_at_ns_ : 0;
}

}  // namespace echelon
