// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace echelon::digits {
namespace {

constexpr int kBarWidth = 30;

double in_seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

double busy_percent(const NodeInfo& node) {
  return node.up.count() > 0 ? 100.0 * in_seconds(node.busy) / in_seconds(node.up) : 0.0;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < std::size(kUnits)) {
    value /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::size_t name_width(const NodeInfo& node, std::size_t depth) {
  std::size_t width = 2 * depth + node.name.size();
  for (const NodeInfo& child : node.children) width = std::max(width, name_width(child, depth + 1));
  return width;
}

void add_node_lines(const NodeInfo& node, std::size_t depth, std::size_t width,
                    std::string& lines) {
  const std::string name = std::string(2 * depth, ' ') + node.name;
  lines += fmt::format("{:<{}}  {:<6}  {:>9}  {:>6.1f}  {:>10}  {:>10}\n", name, width, node.kind,
                       node.tasks, busy_percent(node), bytes_text(node.bytes_in),
                       bytes_text(node.bytes_out));
  for (const NodeInfo& child : node.children) add_node_lines(child, depth + 1, width, lines);
}

nlohmann::ordered_json node_json(const NodeInfo& node) {
  nlohmann::ordered_json children = nlohmann::ordered_json::array();
  for (const NodeInfo& child : node.children) children.push_back(node_json(child));
  return {{"name", node.name},
          {"path", node.path},
          {"kind", node.kind},
          {"level", node.level},
          {"state", node.state},
          {"pid", node.pid},
          {"tasks", node.tasks},
          {"tasks_failed", node.tasks_failed},
          {"busy_seconds", in_seconds(node.busy)},
          {"busy_percent", busy_percent(node)},
          {"bytes_in", node.bytes_in},
          {"bytes_out", node.bytes_out},
          {"lost_wakeups", node.lost_wakeups},
          {"children", std::move(children)}};
}

// Where they are; on this machine alone there is nothing to say but how many.
nlohmann::ordered_json hosts_json(const Summary& summary) {
  if (summary.where.empty()) return summary.tree_shape.hosts;
  return summary.where;
}

double tasks_per_second(const Summary& summary) {
  return static_cast<double>(total_tasks(summary.tree)) / std::max(summary.seconds, 1e-9);
}

}  // namespace

std::string parameters_sha256(std::span<const float> parameters) {
  std::vector<unsigned char> bytes;
  bytes.reserve(parameters.size() * sizeof(float));
  for (const float parameter : parameters) {
    const auto bits = std::bit_cast<std::uint32_t>(parameter);
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<unsigned char>(bits >> shift));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::uint64_t total_tasks(const NodeInfo& node) {
  std::uint64_t tasks = node.tasks;
  for (const NodeInfo& child : node.children) tasks += total_tasks(child);
  return tasks;
}

std::string epoch_line(const EpochReport& report, int epochs) {
  const std::string total = std::to_string(epochs);
  return fmt::format(
      "epoch {:>{}}/{}   loss {:.4f}   held-out accuracy {:.2f} %   {:.0f} tasks/s", report.epoch,
      total.size(), total, report.loss,
      100.0 * static_cast<double>(report.right) / static_cast<double>(report.held_out),
      report.tasks_per_second);
}

std::string node_table(const NodeInfo& tree) {
  const std::size_t width = std::max(name_width(tree, 0), std::size_t{4});
  std::string lines = fmt::format("{:<{}}  {:<6}  {:>9}  {:>6}  {:>10}  {:>10}\n", "node", width,
                                  "kind", "tasks", "busy %", "read", "written");
  add_node_lines(tree, 0, width, lines);
  return lines;
}

std::string progress_line(std::string_view what, std::int64_t done, std::int64_t total) {
  const auto filled = static_cast<std::size_t>(kBarWidth * done / std::max<std::int64_t>(total, 1));
  return fmt::format("{}  [{}{}] {:>3} %", what, std::string(filled, '#'),
                     std::string(kBarWidth - filled, '-'),
                     100 * done / std::max<std::int64_t>(total, 1));
}

std::string summary_json(const Summary& summary) {
  const nlohmann::ordered_json json = {{"accuracy", summary.accuracy()},
                                       {"identical_to_one_chip", summary.identical_to_one_chip},
                                       {"parameters_sha256", summary.parameters_sha256},
                                       {"tasks", total_tasks(summary.tree)},
                                       {"tasks_per_second", tasks_per_second(summary)},
                                       {"seconds", summary.seconds},
                                       {"loss", summary.last.loss},
                                       {"hosts", hosts_json(summary)},
                                       {"host_count", summary.tree_shape.hosts},
                                       {"chips_per_host", summary.tree_shape.chips},
                                       {"epochs", summary.epochs},
                                       {"hidden", summary.hidden},
                                       {"features", summary.features},
                                       {"classes", summary.classes},
                                       {"training_rows", summary.training_rows},
                                       {"held_out_rows", summary.last.held_out},
                                       {"tree", node_json(summary.tree)}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string summary_text(const Summary& summary) {
  std::string text = "\n" + node_table(summary.tree) + "\n";
  text += fmt::format("{} tasks in {:.2f} s, {:.0f} a second\n", total_tasks(summary.tree),
                      summary.seconds, tasks_per_second(summary));
  if (!summary.where.empty()) {
    text += fmt::format("hosts: {}{}\n", summary.where,
                        summary.where_note.empty() ? "" : " (" + summary.where_note + ")");
  }
  text += fmt::format("held-out accuracy {:.2f} % ({} of {} rows)\n", 100.0 * summary.accuracy(),
                      summary.last.right, summary.last.held_out);
  text += fmt::format("parameters' SHA-256: {}\n", summary.parameters_sha256);
  text += summary.identical_to_one_chip
              ? "reference with one host and one chip: the same parameters, bit for bit\n"
              : "reference with one host and one chip: DIFFERENT parameters\n";
  return text;
}

ProgressBar::ProgressBar(std::FILE* out, std::string what, std::int64_t total)
    : out_(out), what_(std::move(what)), total_(total), terminal_(isatty(fileno(out)) == 1) {}

void ProgressBar::advance() {
  done_ = std::min(done_ + 1, total_);
  const std::int64_t percent = 100 * done_ / std::max<std::int64_t>(total_, 1);
  if (!terminal_ || percent == percent_shown_) return;
  percent_shown_ = percent;
  fmt::print(out_, "\r{}", progress_line(what_, done_, total_));
  std::fflush(out_);
}

void ProgressBar::hide() {
  if (!terminal_ || percent_shown_ < 0) return;
  percent_shown_ = -1;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
}

}  // namespace echelon::digits
