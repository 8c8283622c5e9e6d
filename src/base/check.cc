// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iterator>

namespace echelon {
namespace {

std::atomic<CheckHook> check_hook{nullptr};

using Text = fmt::basic_memory_buffer<char, 1024>;

void append(Text& text, const CheckValue& value) {
  auto out = std::back_inserter(text);
  switch (value.kind()) {
    case CheckValue::Kind::kSigned:
      fmt::format_to(out, "{}", value.as_signed());
      return;
    case CheckValue::Kind::kUnsigned:
      fmt::format_to(out, "{}", value.as_unsigned());
      return;
    case CheckValue::Kind::kFloating:
      fmt::format_to(out, "{}", value.as_floating());
      return;
    case CheckValue::Kind::kText:
      fmt::format_to(out, "\"{}\"", value.as_text());
      return;
    case CheckValue::Kind::kPointer:
      fmt::format_to(out, "{:#x}", value.as_unsigned());
      return;
  }
}

}  // namespace

void set_check_hook(CheckHook hook) {
  // pairs with the acquire load in check_failed: what the hook uses was set up before
  check_hook.store(hook, std::memory_order_release);
}

void check_failed(const char* condition, const char* file, int line,
                  std::initializer_list<CheckValue> values) {
  Text text;
  fmt::format_to(std::back_inserter(text), "echelon: internal error at {}:{}: {}", file, line,
                 condition);
  const char* before = " [";
  for (const CheckValue& value : values) {
    fmt::format_to(std::back_inserter(text), "{}", before);
    append(text, value);
    before = ", ";
  }
  if (values.size() != 0) text.push_back(']');
  text.push_back('\n');
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  // pairs with the release store in set_check_hook
  if (const CheckHook hook = check_hook.load(std::memory_order_acquire); hook != nullptr) {
    hook(std::string_view(text.data(), text.size() - 1));
  }
  std::abort();
}

}  // namespace echelon
