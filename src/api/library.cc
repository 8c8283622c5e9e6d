// SPDX-License-Identifier: Apache-2.0
//
// libechelon.so is made of the layers' archives; this names what of the vocabulary headers must be
// in it although nothing inside refers to it.
#include <echelon/echelon.h>

namespace echelon {
namespace {

[[maybe_unused]] const auto kKept = [] { return describe(ErrorInfo{}); };

}  // namespace
}  // namespace echelon
