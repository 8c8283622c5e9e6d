// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <echelon/export.h>

namespace echelon {

/// IEEE 754 binary16, as bits; arithmetic is the kernel's business.
struct float16 {
  std::uint16_t bits;  // sign, 5 of exponent, 10 of fraction
};
/// bfloat16: the upper half of a binary32, as bits.
struct bfloat16 {
  std::uint16_t bits;  // sign, 8 of exponent, 7 of fraction
};

/// Element types. The values are part of the wire format and never change.
enum class DType : std::uint8_t {
  kNone = 0,       // no type
  kBool = 1,       // bool: one byte, 0 or 1
  kInt8 = 2,       // std::int8_t
  kInt16 = 3,      // std::int16_t
  kInt32 = 4,      // std::int32_t
  kInt64 = 5,      // std::int64_t
  kUInt8 = 6,      // std::uint8_t
  kUInt16 = 7,     // std::uint16_t
  kUInt32 = 8,     // std::uint32_t
  kUInt64 = 9,     // std::uint64_t
  kFloat16 = 10,   // echelon::float16
  kBFloat16 = 11,  // echelon::bfloat16
  kFloat32 = 12,   // float
  kFloat64 = 13,   // double
};
/// The last value of a DType.
inline constexpr std::uint8_t kDTypeLast = 13;

/// Bytes of one element; 0 for kNone and for values that are no DType.
constexpr std::size_t size_of(DType dtype) {
  constexpr std::uint8_t kSizes[kDTypeLast + 1] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8};
  const auto index = static_cast<std::uint8_t>(dtype);
  return index <= kDTypeLast ? kSizes[index] : 0;
}

/// "float32" and so on, NumPy's names; "none" for kNone, "invalid" for anything else.
ECHELON_API std::string_view to_string(DType dtype);

/// The DType of a C++ type; a compile error for types that are none.
template <class T>
constexpr DType dtype_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, bool>)
    return DType::kBool;
  else if constexpr (std::is_same_v<U, float>)
    return DType::kFloat32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::kFloat64;
  else if constexpr (std::is_same_v<U, float16>)
    return DType::kFloat16;
  else if constexpr (std::is_same_v<U, bfloat16>)
    return DType::kBFloat16;
  else if constexpr (std::is_integral_v<U> && std::is_signed_v<U>)
    return sizeof(U) == 1   ? DType::kInt8
           : sizeof(U) == 2 ? DType::kInt16
           : sizeof(U) == 4 ? DType::kInt32
                            : DType::kInt64;
  else if constexpr (std::is_integral_v<U>)
    return sizeof(U) == 1   ? DType::kUInt8
           : sizeof(U) == 2 ? DType::kUInt16
           : sizeof(U) == 4 ? DType::kUInt32
                            : DType::kUInt64;
  else
    static_assert(!sizeof(U), "echelon: not an element type of tensors or scalars");
}

}  // namespace echelon
