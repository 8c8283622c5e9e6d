// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace echelon::embedding {

/// How a callable that was shipped can be made again in another process.
enum class Form : std::uint8_t {
  kInherited = 0,   // not shipped: there before the fork
  kName = 1,        // ECHELON_SUB / ECHELON_ORCH: the payload is empty
  kLibrary = 2,     // a shared object, by content
  kImportPath = 3,  // the language's own: "package.module:function"
  kPickle = 4,      // the language's own: serialised bytes
  kImage = 5,       // a chip image
};

}  // namespace echelon::embedding
