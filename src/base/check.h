// SPDX-License-Identifier: Apache-2.0
//
// ECHELON_CHECK(condition, values...): for our own bugs alone. Always on; prints the condition, the
// place and the values, then aborts this process (its parent reports a crash with the last words).
// Never use it on what a user, a peer process or another host has given.
//
// Cheap to include and to pass: the values are evaluated only when the condition is false.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <type_traits>

namespace echelon {

/// One value to print: numbers, bools, enums, pointers, texts and strong ids (anything with an
/// integral `.value`). Views what it is given; valid for the full expression.
class CheckValue {
 public:
  enum class Kind : std::uint8_t { kSigned, kUnsigned, kFloating, kText, kPointer };

  CheckValue(std::string_view text)
      : kind_(Kind::kText), text_(text) {}  // NOLINT: implicit by design
  CheckValue(const char* text) : CheckValue(std::string_view(text)) {}  // NOLINT
  CheckValue(const void* pointer)                                       // NOLINT
      : kind_(Kind::kPointer), unsigned_(reinterpret_cast<std::uintptr_t>(pointer)) {}
  template <class T>
  CheckValue(const T& value) {  // NOLINT
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      kind_ = Kind::kText;
      text_ = value;
    } else if constexpr (std::is_floating_point_v<T>) {
      kind_ = Kind::kFloating;
      floating_ = static_cast<double>(value);
    } else if constexpr (std::is_enum_v<T>) {
      set_integer(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::is_integral_v<T>) {
      set_integer(value);
    } else if constexpr (std::is_pointer_v<T>) {
      kind_ = Kind::kPointer;
      unsigned_ = reinterpret_cast<std::uintptr_t>(value);
    } else {
      set_integer(value.value);
    }
  }

  Kind kind() const { return kind_; }
  std::int64_t as_signed() const { return signed_; }
  std::uint64_t as_unsigned() const { return unsigned_; }
  double as_floating() const { return floating_; }
  std::string_view as_text() const { return text_; }

 private:
  template <class T>
  void set_integer(T value) {
    kind_ = std::is_signed_v<T> ? Kind::kSigned : Kind::kUnsigned;
    signed_ = static_cast<std::int64_t>(value);
    unsigned_ = static_cast<std::uint64_t>(value);
  }

  Kind kind_ = Kind::kUnsigned;
  std::int64_t signed_ = 0;
  std::uint64_t unsigned_ = 0;
  double floating_ = 0;
  std::string_view text_;
};

/// Prints to standard error, calls the hook, aborts.
[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               std::initializer_list<CheckValue> values);

/// What a process does with the text before it aborts: a child writes it to its channel's last
/// words. The hook must be safe in a signal handler. nullptr: nothing. Replaces the one before.
using CheckHook = void (*)(std::string_view text);
void set_check_hook(CheckHook hook);

}  // namespace echelon

// The trailing comma lets the list of values be empty.
#define ECHELON_CHECK(...) ECHELON_CHECK_INNER_(__VA_ARGS__, )
#define ECHELON_CHECK_INNER_(condition, ...)                                       \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::echelon::check_failed(#condition, __FILE_NAME__, __LINE__, {__VA_ARGS__}); \
  } while (false)
