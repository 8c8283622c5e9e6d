// SPDX-License-Identifier: Apache-2.0
//
// Finding what belongs to a chip: its driver's library and the executable of its process, in the
// build tree and installed alike.
//
// Where drivers are looked for, in this order:
//   a name with a "/"      that file alone
//   $ECHELON_DRIVER_PATH   folders, ":"-separated
//   the runtime's own      lib/echelon/drivers beside the library or executable that holds this
//   code
// A driver called NAME is the file libechelon_driver_NAME.so.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <echelon/chip_driver.h>

#include "base/status.h"

namespace echelon {

/// A loaded driver. It is never unloaded: its threads and its kernels' code may outlive any handle.
class ChipDriver {
 public:
  /// Finds, loads and checks. Errors (kDriver): an unknown driver, naming the files looked for and
  /// the drivers that exist; a library that does not load or is no driver; one of another version,
  /// naming both versions; one without an entry that this version requires.
  static Result<ChipDriver> load(std::string_view name);

  /// Checks a table that is already at hand; `where` names it in errors.
  static Result<ChipDriver> from_table(const echelon_chip_driver_v1* table, std::string where);

  /// Every entry up to find_kernel .. health is set; the optional ones may be null.
  const echelon_chip_driver_v1& table() const { return *table_; }
  /// The file it came from.
  const std::string& where() const { return where_; }

 private:
  ChipDriver() = default;
  std::shared_ptr<const echelon_chip_driver_v1> table_;
  std::string where_;
};

/// The file of a driver, without loading it. Errors as load().
Result<std::string> find_driver(std::string_view name);

/// Names of the drivers that find_driver() would find, sorted, each once.
std::vector<std::string> known_drivers();

/// libexec/echelon/chip: in $ECHELON_LIBEXEC if that is set, else relative to the library or
/// executable that holds this code. Errors (kStartFailed): names the places looked at.
Result<std::string> find_chip_executable();

/// The folder that holds echelon/chip_kernel.h: $ECHELON_INCLUDE, the build's, or the installed
/// one. Errors (kImage): names the places looked at.
Result<std::string> find_include_folder();

}  // namespace echelon
