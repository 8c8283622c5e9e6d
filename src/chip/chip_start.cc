// SPDX-License-Identifier: Apache-2.0
#include "chip/chip_start.h"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

namespace echelon {
namespace {

constexpr std::string_view kDriver = "--driver";
constexpr std::string_view kDevice = "--device";
constexpr std::string_view kImages = "--images";
constexpr std::string_view kBuildId = "--build-id";
constexpr std::string_view kOption = "--option";  // KEY=VALUE, any number of them

Status bad(std::string message) {
  return Status::error(Code::kInvalidArgument, Reason::kBadArgument,
                       "a chip's arguments: " + std::move(message));
}

Status parse_number(std::string_view text, std::uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return Status();
  return bad(fmt::format("'{}' is no number", text));
}

Status parse_one(std::string_view key, const std::string& value, ChipStart& start) {
  if (key == kDriver) {
    start.chip.driver = value;
  } else if (key == kDevice) {
    return parse_number(value, start.chip.device);
  } else if (key == kImages) {
    return parse_number(value, start.image_count);
  } else if (key == kBuildId) {
    start.build_id = value;
  } else if (const std::size_t at = value.find('='); key == kOption && at != std::string::npos) {
    start.chip.options[value.substr(0, at)] = value.substr(at + 1);
  } else {
    return bad(fmt::format("'{} {}' is not one of them", key, value));
  }
  return Status();
}

}  // namespace

std::vector<std::string> chip_arguments(const ChipStart& start) {
  std::vector<std::string> arguments = {std::string(kBuildId), start.build_id,
                                        std::string(kDriver),  start.chip.driver,
                                        std::string(kDevice),  std::to_string(start.chip.device),
                                        std::string(kImages),  std::to_string(start.image_count)};
  for (const auto& [key, value] : start.chip.options) {
    arguments.emplace_back(kOption);
    arguments.push_back(key + "=" + value);
  }
  return arguments;
}

Result<ChipStart> parse_chip_arguments(std::span<const std::string> arguments) {
  ChipStart start;
  start.build_id.clear();
  if (arguments.size() % 2 != 0) return bad("they come in pairs");
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    ECHELON_RETURN_IF_ERROR(parse_one(arguments[i], arguments[i + 1], start));
  }
  return start;
}

Status check_build_id(const ChipStart& start) {
  if (start.build_id == build_id()) return Status();
  return Status::error(
      Code::kFailedPrecondition, Reason::kStartFailed,
      fmt::format("the chip executable is of another build than the Worker that starts it: {} "
                  "here, {} there; install all parts of one build together",
                  build_id(), start.build_id.empty() ? "none" : start.build_id));
}

}  // namespace echelon
