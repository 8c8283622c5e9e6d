// SPDX-License-Identifier: Apache-2.0
#include "cli/proc_text.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

namespace echelon::cli {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Cuts the part before `separator` off the front of `rest`.
std::string_view next_part(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

/// What follows "key" and a colon in the first line that starts so.
std::optional<std::string_view> value_after(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = next_part(text, '\n');
    if (line.find(':') == std::string_view::npos) continue;
    const std::string_view name = next_part(line, ':');
    if (trim(name) == key) return trim(line);
  }
  return std::nullopt;
}

bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    if (next_part(names, ',') == name) return true;
  }
  return false;
}

}  // namespace

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  std::string value = text.str();
  value.erase(value.find_last_not_of(kSpace) + 1);
  return value;
}

std::optional<std::int64_t> parse_number(std::string_view text) {
  text = trim(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> meminfo_bytes(std::string_view text, std::string_view key) {
  const auto value = value_after(text, key);
  if (!value) return std::nullopt;
  std::string_view rest = *value;
  const auto number = parse_number(next_part(rest, ' '));
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number) * (trim(rest) == "kB" ? 1024 : 1);
}

std::optional<std::string> cpuinfo_value(std::string_view text, std::string_view key) {
  const auto value = value_after(text, key);
  return value ? std::optional<std::string>(*value) : std::nullopt;
}

std::optional<std::string> bracketed(std::string_view text) {
  const std::size_t begin = text.find('[');
  if (begin == std::string_view::npos) return std::nullopt;
  const std::size_t end = text.find(']', begin);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(text.substr(begin + 1, end - begin - 1));
}

std::optional<double> cpu_max_processors(std::string_view text) {
  text = trim(text);
  const auto quota = parse_number(next_part(text, ' '));
  const auto period = parse_number(text);
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::string> cgroup_folder(std::string_view text, std::string_view controller) {
  while (!text.empty()) {
    std::string_view line = next_part(text, '\n');
    const std::string_view number = next_part(line, ':');
    const std::string_view names = next_part(line, ':');
    const bool found =
        controller.empty() ? number == "0" && names.empty() : lists(names, controller);
    if (found) return std::string(trim(line));
  }
  return std::nullopt;
}

std::optional<ProcessStat> parse_stat(std::string_view text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  ProcessStat stat;
  stat.command = std::string(text.substr(open + 1, close - open - 1));
  std::string_view rest = trim(text.substr(close + 1));
  const std::string_view state = next_part(rest, ' ');
  const auto pid = parse_number(text.substr(0, open));
  const auto parent = parse_number(next_part(rest, ' '));
  if (!pid || !parent || state.size() != 1) return std::nullopt;
  stat.pid = *pid;
  stat.state = state.front();
  stat.parent = *parent;
  return stat;
}

int kernel_version(std::string_view release) {
  const auto major = parse_number(next_part(release, '.'));
  const std::size_t digits = std::min(release.find_first_not_of("0123456789"), release.size());
  const auto minor = parse_number(release.substr(0, digits));
  if (!major || !minor) return 0;
  return static_cast<int>(*major * 1000 + *minor);
}

std::optional<std::string> read_cgroup_file(std::string_view controller, std::string_view v2_name,
                                            std::string_view v1_name) {
  const std::string own = read_text("/proc/self/cgroup").value_or("");
  const std::string root = "/sys/fs/cgroup";
  const std::string v1_root = root + "/" + std::string(controller);
  std::vector<std::string> paths;
  const auto add = [&paths](const std::string& folder, std::string_view name) {
    paths.push_back(folder + "/" + std::string(name));
  };
  if (const auto folder = cgroup_folder(own, "")) {
    add(root + *folder, v2_name);
    add(root + "/unified" + *folder, v2_name);
  }
  if (const auto folder = cgroup_folder(own, controller)) add(v1_root + *folder, v1_name);
  add(root, v2_name);
  add(v1_root, v1_name);
  for (const std::string& path : paths) {
    if (auto text = read_text(path)) return text;
  }
  return std::nullopt;
}

}  // namespace echelon::cli
