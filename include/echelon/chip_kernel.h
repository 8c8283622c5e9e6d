// SPDX-License-Identifier: Apache-2.0
//
// What a kernel for the cpu driver includes; C99 and C++20.
//
//   #include <echelon/chip_kernel.h>
//
//   ECHELON_KERNEL(scale) {
//     auto x = echelon::kernel::values<const float>(args, context, 0);
//     auto y = echelon::kernel::values<float>(args, context, 1);
//     const float factor = echelon::kernel::scalar<float>(args, context, 0);
//     for (std::size_t i = context->grid_index[0]; i < x.size(); i += context->grid[0])
//       y[i] = factor * x[i];
//   }
//
// A kernel is called once for each block of its launch's grid, with the same arguments and its own
// context. Blocks are spread over the launch's cores, so calls run at the same time and in any
// order; they share no state but the tensors. A launch of one block runs on one core.
//
// Tensors lie in the chip's memory. Tensors tagged OUTPUT that the host holds have unspecified
// bytes when the kernel starts: their old bytes are never sent.
//
// A kernel fails by echelon_kernel_fail(), or by letting a C++ exception escape: the launch, and so
// the task, fails with that text. Blocks already begun end first; others are not started.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include <echelon/dtype.h>

extern "C" {
#endif

/// Element types, for C; in C++ echelon::DType has the same values.
enum {
  ECHELON_BOOL = 1,       // one byte, 0 or 1
  ECHELON_INT8 = 2,       // int8_t
  ECHELON_INT16 = 3,      // int16_t
  ECHELON_INT32 = 4,      // int32_t
  ECHELON_INT64 = 5,      // int64_t
  ECHELON_UINT8 = 6,      // uint8_t
  ECHELON_UINT16 = 7,     // uint16_t
  ECHELON_UINT32 = 8,     // uint32_t
  ECHELON_UINT64 = 9,     // uint64_t
  ECHELON_FLOAT16 = 10,   // IEEE 754 binary16
  ECHELON_BFLOAT16 = 11,  // the upper half of a float
  ECHELON_FLOAT32 = 12,   // float
  ECHELON_FLOAT64 = 13    // double
};

/// What the submitter's tag allows: bits.
enum {
  ECHELON_READ = 1,  // the kernel may read: input, inout, output_existing, no_dep
  ECHELON_WRITE = 2  // and write: output, inout, output_existing
};

/// A tensor of the task, in the chip's memory. Valid during the call.
typedef struct echelon_kernel_tensor {
  void* data;           // element (0, 0, ...)
  uint8_t dtype;        // ECHELON_FLOAT32 ...
  uint8_t rank;         // 0..8; rank 0 is one element
  uint8_t access;       // ECHELON_READ | ECHELON_WRITE
  uint8_t reserved[5];  // zero
  int64_t extent[8];    // elements
  int64_t stride[8];    // bytes
} echelon_kernel_tensor;

/// A scalar of the task.
typedef struct echelon_kernel_scalar {
  uint8_t dtype;        // ECHELON_FLOAT32 ...
  uint8_t reserved[7];  // zero
  uint8_t bytes[8];     // the value, at the front
} echelon_kernel_scalar;

/// One of the user's keys and values (CallConfig::values); NUL-terminated.
typedef struct echelon_kernel_value {
  const char* key;    // as the user gave it
  const char* value;  // as the user gave it; may be empty
} echelon_kernel_value;

/// All that the task was given; the same for each block of the launch.
typedef struct echelon_kernel_args {
  uint32_t struct_size;                  // of the driver's; fields may be added at the end
  uint32_t tensor_count;                 // elements of `tensors`
  uint32_t scalar_count;                 // elements of `scalars`
  uint32_t value_count;                  // elements of `values`
  const echelon_kernel_tensor* tensors;  // tensors and scalars are separate lists, each in the
  const echelon_kernel_scalar* scalars;  // order in which the task names them
  const echelon_kernel_value* values;    // sorted by key
} echelon_kernel_args;

/// What differs from block to block, and what the launch was asked for.
typedef struct echelon_kernel_context {
  uint32_t struct_size;    // of the driver's; fields may be added at the end
  uint32_t grid[3];        // blocks of the launch in x, y, z
  uint32_t grid_index[3];  // this block: 0..grid-1 in x, y, z
  uint32_t core;           // which core this call runs on, 0..cores-1
  uint32_t cores;          // cores of the launch
  uint32_t profiling;      // CallConfig::profiling
  /// echelon_kernel_fail() calls it.
  void (*fail)(const struct echelon_kernel_context* context, const char* text);
  void* driver;  // the driver's own
} echelon_kernel_context;

/// The signature of every kernel.
typedef void (*echelon_kernel_function)(const echelon_kernel_args* args,
                                        const echelon_kernel_context* context);

/// Fails the launch with `text` (copied; the first text of a launch is kept). Returns: the kernel
/// should then return too.
static inline void echelon_kernel_fail(const echelon_kernel_context* context, const char* text) {
  context->fail(context, text);
}

#ifdef __cplusplus
}  // extern "C"
#define ECHELON_KERNEL_EXTERN_ extern "C"
#else
#define ECHELON_KERNEL_EXTERN_
#endif

/// `ECHELON_KERNEL(name) { body }`: an exported kernel with the parameters `args` and `context`.
#define ECHELON_KERNEL(name)                                                                \
  ECHELON_KERNEL_EXTERN_ __attribute__((visibility("default"))) void name(                  \
      const echelon_kernel_args* args, const echelon_kernel_context* context);              \
  ECHELON_KERNEL_EXTERN_ void name(__attribute__((unused)) const echelon_kernel_args* args, \
                                   __attribute__((unused)) const echelon_kernel_context* context)

#ifdef __cplusplus
/// For kernels in C++.
namespace echelon::kernel {

/// Thrown by what follows after the failure was reported; ends this call of the kernel. Not an
/// std::exception: let it pass.
struct Stop {};

/// echelon_kernel_fail(), and this call of the kernel ends here.
[[noreturn]] inline void fail(const echelon_kernel_context* context, const std::string& text) {
  echelon_kernel_fail(context, text.c_str());
  throw Stop{};
}

namespace internal {
inline std::string name_of(std::uint8_t dtype) {
  constexpr const char* kNames[] = {"none",    "bool",     "int8",    "int16",  "int32",
                                    "int64",   "uint8",    "uint16",  "uint32", "uint64",
                                    "float16", "bfloat16", "float32", "float64"};
  return dtype <= 13 ? kNames[dtype] : "invalid";
}
}  // namespace internal

/// Tensor `index`, or a failure that says how many there are.
inline const echelon_kernel_tensor& tensor(const echelon_kernel_args* args,
                                           const echelon_kernel_context* context,
                                           std::size_t index) {
  if (index >= args->tensor_count) {
    fail(context, "tensor " + std::to_string(index) + " was asked for; the task has " +
                      std::to_string(args->tensor_count));
  }
  return args->tensors[index];
}

/// The product of its extents; 1 for rank 0.
inline std::size_t element_count(const echelon_kernel_tensor& tensor) {
  std::size_t count = 1;
  for (unsigned i = 0; i < tensor.rank; ++i) count *= static_cast<std::size_t>(tensor.extent[i]);
  return count;
}

/// Row-major without gaps.
inline bool contiguous(const echelon_kernel_tensor& tensor, std::size_t element_bytes) {
  auto expected = static_cast<std::int64_t>(element_bytes);
  for (unsigned i = tensor.rank; i-- > 0;) {
    if (tensor.extent[i] != 1 && tensor.stride[i] != expected) return false;
    expected *= tensor.extent[i];
  }
  return true;
}

/// The elements of tensor `index` in row-major order. Fails the launch when the dtype differs, when
/// T is not const and the task may not write the tensor, or when the elements have gaps.
template <class T>
std::span<T> values(const echelon_kernel_args* args, const echelon_kernel_context* context,
                    std::size_t index) {
  const echelon_kernel_tensor& t = tensor(args, context, index);
  constexpr auto kDType = static_cast<std::uint8_t>(dtype_of<T>());
  if (t.dtype != kDType) {
    fail(context, "tensor " + std::to_string(index) + " is " + internal::name_of(t.dtype) +
                      "; the kernel takes " + internal::name_of(kDType));
  }
  if (!std::is_const_v<T> && (t.access & ECHELON_WRITE) == 0) {
    fail(context, "tensor " + std::to_string(index) + " is an input; the kernel writes it");
  }
  const std::size_t count = element_count(t);
  if (count != 0 && !contiguous(t, sizeof(T))) {
    fail(context, "tensor " + std::to_string(index) +
                      " has gaps between its elements; the kernel takes it without");
  }
  return {static_cast<T*>(t.data), count};
}

/// Scalar `index`. Fails the launch where there is none, or where it has another type.
template <class T>
T scalar(const echelon_kernel_args* args, const echelon_kernel_context* context,
         std::size_t index) {
  if (index >= args->scalar_count) {
    fail(context, "scalar " + std::to_string(index) + " was asked for; the task has " +
                      std::to_string(args->scalar_count));
  }
  const echelon_kernel_scalar& s = args->scalars[index];
  constexpr auto kDType = static_cast<std::uint8_t>(dtype_of<T>());
  if (s.dtype != kDType) {
    fail(context, "scalar " + std::to_string(index) + " is " + internal::name_of(s.dtype) +
                      "; the kernel takes " + internal::name_of(kDType));
  }
  T value;
  std::memcpy(&value, s.bytes, sizeof(T));
  return value;
}

/// The user's value of `key` in CallConfig::values, or null.
inline const char* value_of(const echelon_kernel_args* args, const char* key) {
  for (std::uint32_t i = 0; i < args->value_count; ++i) {
    if (std::strcmp(args->values[i].key, key) == 0) return args->values[i].value;
  }
  return nullptr;
}

}  // namespace echelon::kernel
#endif
