// SPDX-License-Identifier: Apache-2.0
#include "cli/grpc_floor.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "base/install_folders.h"
#include "cli/statistics.h"

namespace echelon::cli {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kWarmUpTrips = 30;
constexpr auto kStartPatience = std::chrono::seconds(10);

Result<std::string> find_program() {
  std::vector<fs::path> places;
  if (const char* own = std::getenv("ECHELON_LIBEXEC"); own != nullptr && *own != '\0') {
    places = {fs::path(own) / "grpc_floor"};
  } else {
    for (const fs::path& prefix : install_prefixes())
      places.push_back(prefix / "libexec/echelon/grpc_floor");
  }
  std::error_code error;
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place, error)) return place.string();
  }
  return Status::error(Code::kNotFound, Reason::kSystem,
                       "this installation has no libexec/echelon/grpc_floor to measure against");
}

}  // namespace

Result<GrpcFloor> GrpcFloor::start(const std::string& folder) {
  ECHELON_ASSIGN_OR_RETURN(const std::string program, find_program());
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Status::from_errno(errno, "socketpair()");
  UniqueFd here(ends[0]);
  const UniqueFd there(ends[1]);

  BackgroundProgram::Options options;
  options.command = {program, "serve"};
  options.log_path = folder + "/grpc-floor-server.log";
  ECHELON_ASSIGN_OR_RETURN(BackgroundProgram server, BackgroundProgram::start(options));
  ECHELON_ASSIGN_OR_RETURN(const std::string address,
                           server.await_line("serving at ", kStartPatience));
  options.command = {program, "ask", address};
  options.log_path = folder + "/grpc-floor-client.log";
  options.prepare = [&] {
    return dup2(there.get(), 0) < 0 || dup2(there.get(), 1) < 0 ? errno : 0;
  };
  ECHELON_ASSIGN_OR_RETURN(BackgroundProgram client, BackgroundProgram::start(options));
  return GrpcFloor(std::move(server), std::move(client), std::move(here));
}

std::vector<double> GrpcFloor::ask(const std::string& line) {
  if (send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0)
    throw std::runtime_error("the gRPC floor has ended: " + client_.output());
  std::string answer;
  while (answer.empty() || answer.back() != '\n') {
    char more[4096];
    const ssize_t got = read(socket_.get(), more, sizeof more);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error("the gRPC floor has ended: " + client_.output());
    answer.append(more, static_cast<std::size_t>(got));
  }
  std::istringstream text(answer);
  std::vector<double> values;
  for (double value = 0; text >> value;) values.push_back(value);
  return values;
}

void GrpcFloor::round(unsigned samples) {
  const auto more = ask(fmt::format("trips {} {}\n", kWarmUpTrips, samples));
  samples_.insert(samples_.end(), more.begin(), more.end());
}

double GrpcFloor::copy_ns(unsigned mebibytes) {
  return median(ask(fmt::format("copy {}\n", mebibytes)));
}

double GrpcFloor::p50() const {
  return percentile(samples_, 50);
}

}  // namespace echelon::cli
