// SPDX-License-Identifier: Apache-2.0
//
// What the demo prints, as text and as JSON.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include <echelon/node_info.h>

#include "trainer.h"

namespace echelon::digits {

/// SHA-256 of the parameters as little-endian float32, in hexadecimal.
std::string parameters_sha256(std::span<const float> parameters);

/// Callables run in a tree.
std::uint64_t total_tasks(const NodeInfo& node);

/// "epoch  3/25   loss 0.0512   held-out accuracy 96.10 %   5123 tasks/s"
std::string epoch_line(const EpochReport& report, int epochs);

/// What every node did: a line a node, children indented below their parent.
std::string node_table(const NodeInfo& tree);

/// "training  [########------------]  41 %"
std::string progress_line(std::string_view what, std::int64_t done, std::int64_t total);

struct Summary {
  TreeShape tree_shape;
  std::string where;       // the hosts: "netns", "loopback", "given"; empty: this machine
  std::string where_note;  // and why, in words
  int epochs = 0;
  int hidden = 0;
  std::int64_t training_rows = 0;
  std::int64_t features = 0;
  std::int64_t classes = 0;
  EpochReport last;
  std::string parameters_sha256;
  bool identical_to_one_chip = false;
  double seconds = 0;
  NodeInfo tree;

  double accuracy() const {
    return static_cast<double>(last.right) / static_cast<double>(last.held_out);
  }
};

/// One JSON object, without a line end.
std::string summary_json(const Summary& summary);
/// The closing table and what was found, in lines.
std::string summary_text(const Summary& summary);

/// A bar on a terminal's last line; nothing where `out` is no terminal.
class ProgressBar {
 public:
  ProgressBar(std::FILE* out, std::string what, std::int64_t total);
  ~ProgressBar() { hide(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void advance();
  /// Clears the line, for others to write; advance() shows it again.
  void hide();

 private:
  std::FILE* out_;
  std::string what_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  std::int64_t percent_shown_ = -1;
  bool terminal_;
};

}  // namespace echelon::digits
