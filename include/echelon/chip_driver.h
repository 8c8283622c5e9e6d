// SPDX-License-Identifier: Apache-2.0
//
// The driver of a chip: a C ABI between Echelon and whatever moves bytes and launches kernels on a
// device. A driver is a shared library that exports one function, echelon_chip_driver_get(). It is
// C99, knows nothing of Echelon's C++, and is loaded into a process of its own for each chip.
//
// Processes: the process that loads a driver was exec'd for one chip and uses that chip alone.
// Threads: a device is used by one thread at a time. health() and fault() may be called by another
//   thread while launch() or wait() runs. A driver may have threads of its own, made after open();
//   they block every signal and use no CPU while the device is idle.
// Errors: fallible calls return 0 (ECHELON_CHIP_OK) or another echelon_chip_code, and then write a
//   sentence for the user, NUL-terminated and cut where need be, to `error`, which may be null.
//   Nothing is changed by a call that fails, unless it says otherwise. No call lets an exception
//   escape, ends the process, or prints.
// Versions: `abi_version` changes when an existing entry changes its meaning. Entries are added at
//   the end of a table; `struct_size` says how far a table reaches, and the runtime takes what lies
//   beyond it, like every entry marked optional, for null.
//
// src/chip/driver_conformance_test.cc states the same rules as tests, for every driver.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The version of this header: what goes into `abi_version`.
#define ECHELON_CHIP_DRIVER_ABI 1u
/// The name of the one function that a driver exports: an echelon_chip_driver_get_function.
#define ECHELON_CHIP_DRIVER_ENTRY "echelon_chip_driver_get"
/// Most dimensions of a tensor.
#define ECHELON_CHIP_RANK_MAX 8

/// What fallible calls return, as an int.
typedef enum echelon_chip_code {
  ECHELON_CHIP_OK = 0,           // it was done
  ECHELON_CHIP_PENDING = 1,      // not an error: the launch has not ended yet
  ECHELON_CHIP_INVALID = 2,      // an argument is wrong: mend the call
  ECHELON_CHIP_NOT_FOUND = 3,    // no such device or kernel
  ECHELON_CHIP_NO_MEMORY = 4,    // device memory is used up: free some, or ask for less
  ECHELON_CHIP_IMAGE = 5,        // the image does not load on this device
  ECHELON_CHIP_FAULT = 6,        // the kernel failed; the device is usable
  ECHELON_CHIP_LOST = 7,         // the device is not usable any more
  ECHELON_CHIP_BUSY = 8,         // as many launches in flight as the device takes: wait for one
  ECHELON_CHIP_UNSUPPORTED = 9,  // this driver cannot do that
  ECHELON_CHIP_INTERNAL = 10     // anything else
} echelon_chip_code;

/// Where the text of an error goes: the caller's memory.
typedef struct echelon_chip_error {
  char* text;       // written by the driver, always NUL-terminated
  size_t capacity;  // bytes at `text`, the NUL included
} echelon_chip_error;

// Opaque: the driver's own objects. Each belongs to the device it was made by and ends with it.

/// A device that was opened.
typedef struct echelon_chip_device echelon_chip_device;
/// Code that was loaded into a device.
typedef struct echelon_chip_image echelon_chip_image;
/// An entry of an image.
typedef struct echelon_chip_kernel echelon_chip_kernel;

/// Device memory, by name; 0 is none. Not an address: addresses stay inside the driver. A name that
/// was freed is not given out again by the same open device.
typedef uint64_t echelon_chip_memory;
/// A launch that has not been seen to end; 0 is none.
typedef uint64_t echelon_chip_launch;

/// What a device is, and has free.
typedef struct echelon_chip_device_info {
  uint32_t struct_size;        // set by the caller; the driver writes no further
  uint32_t cores;              // cores that a launch with cores == 0 uses
  uint32_t cores_max;          // most cores that a launch may ask for
  uint32_t launches_max;       // most launches in flight
  uint64_t memory_bytes;       // device memory in all
  uint64_t memory_free_bytes;  // what allocate() could give out at most, now
  char name[128];              // for people: "cpu 0: Example CPU, 8 threads"
} echelon_chip_device_info;

/// A key and its value, NUL-terminated: an option for opening a device (unknown keys are refused by
/// name), or one of the user's own for a launch.
typedef struct echelon_chip_option {
  const char* key;    // not null
  const char* value;  // not null; may be empty
} echelon_chip_option;

/// A tensor argument: a view of device memory.
typedef struct echelon_chip_tensor {
  echelon_chip_memory memory;  // 0 is allowed for a tensor without elements
  uint64_t offset;             // bytes from the start of the allocation to element (0, 0, ...)
  uint8_t dtype;               // values of echelon/dtype.h
  uint8_t rank;                // 0..ECHELON_CHIP_RANK_MAX; rank 0 is one element
  uint8_t access;              // 1: the kernel reads, 2: writes, 3: both
  uint8_t reserved[5];         // zero
  int64_t extent[ECHELON_CHIP_RANK_MAX];  // elements, >= 0
  int64_t stride[ECHELON_CHIP_RANK_MAX];  // bytes, >= 0
} echelon_chip_tensor;

/// A scalar argument: one number by value.
typedef struct echelon_chip_scalar {
  uint8_t dtype;        // values of echelon/dtype.h
  uint8_t reserved[7];  // zero
  uint8_t bytes[8];     // the value in the host's byte order, at the front, zero padded
} echelon_chip_scalar;

/// What to launch. The struct and everything it points to stay as they are until the launch has
/// been seen to end.
typedef struct echelon_chip_launch_spec {
  uint32_t struct_size;                // set by the caller: how far the struct reaches
  uint32_t grid[3];                    // blocks in x, y, z; each at least 1
  uint32_t cores;                      // cores to spread the blocks over; 0: device info's cores
  uint32_t profiling;                  // the user's profiling flags; a driver may ignore them
  uint32_t tensor_count;               // elements of `tensors`
  uint32_t scalar_count;               // elements of `scalars`
  uint32_t value_count;                // elements of `values`
  uint32_t reserved;                   // zero
  const echelon_chip_tensor* tensors;  // tensors and scalars are separate lists, each in the order
  const echelon_chip_scalar* scalars;  // in which the task names them
  const echelon_chip_option* values;   // the user's keys and values, sorted by key
} echelon_chip_launch_spec;

/// Native collectives; described by a later version of this header.
typedef struct echelon_chip_collectives echelon_chip_collectives;

/// A driver: its name and its calls. Constant.
typedef struct echelon_chip_driver_v1 {
  uint32_t abi_version;  // ECHELON_CHIP_DRIVER_ABI
  uint32_t struct_size;  // sizeof this struct, as the driver was built
  const char* name;      // "cpu"
  const char* version;   // of the driver, for people

  // --- devices --------------------------------------------------------------------------------
  /// How many devices there are; indices 0..count-1 can be opened. A driver whose devices are made
  /// of software may answer UINT32_MAX: any index.
  int (*device_count)(uint32_t* count, echelon_chip_error* error);
  /// NOT_FOUND where there is no such device, INVALID for an unknown option or a bad value.
  int (*open)(uint32_t index, const echelon_chip_option* options, uint32_t option_count,
              echelon_chip_device** device, echelon_chip_error* error);
  /// Frees everything that the device still holds. REQUIRES: no launch in flight.
  void (*close)(echelon_chip_device* device);
  /// Fills `info` as far as its `struct_size` reaches.
  int (*device_info)(echelon_chip_device* device, echelon_chip_device_info* info,
                     echelon_chip_error* error);

  // --- memory ---------------------------------------------------------------------------------
  /// A piece of device memory. `bytes` > 0; `alignment` a power of two up to 4096, 0 for the
  /// driver's own (at least 64). The bytes are unspecified. NO_MEMORY where there is not so much in
  /// one piece.
  int (*allocate)(echelon_chip_device* device, uint64_t bytes, uint64_t alignment,
                  echelon_chip_memory* memory, echelon_chip_error* error);
  /// Gives it back. REQUIRES: no launch in flight uses it. INVALID for what is not allocated.
  int (*free)(echelon_chip_device* device, echelon_chip_memory memory, echelon_chip_error* error);
  /// From the host to the device; has ended when it returns. INVALID where the range leaves the
  /// allocation.
  int (*copy_in)(echelon_chip_device* device, echelon_chip_memory to, uint64_t offset,
                 const void* from, uint64_t bytes, echelon_chip_error* error);
  /// From the device to the host, likewise.
  int (*copy_out)(echelon_chip_device* device, void* to, echelon_chip_memory from, uint64_t offset,
                  uint64_t bytes, echelon_chip_error* error);
  /// Sets bytes to `value`; ends and fails as copy_in().
  int (*fill)(echelon_chip_device* device, echelon_chip_memory to, uint64_t offset, uint8_t value,
              uint64_t bytes, echelon_chip_error* error);

  // --- kernels --------------------------------------------------------------------------------
  /// Loads code. `bytes` are in the driver's own format, and are copied; the code stays until
  /// unloaded. IMAGE where they are not such an image.
  int (*load_image)(echelon_chip_device* device, const void* bytes, uint64_t size,
                    echelon_chip_image** image, echelon_chip_error* error);
  /// Takes the code out. REQUIRES: no launch of its kernels in flight. They are not valid
  /// afterwards.
  void (*unload_image)(echelon_chip_device* device, echelon_chip_image* image);
  /// An entry by its name. NOT_FOUND where the image has none of that name. Valid until the image
  /// is unloaded.
  int (*find_kernel)(echelon_chip_device* device, echelon_chip_image* image, const char* name,
                     echelon_chip_kernel** kernel, echelon_chip_error* error);
  /// Starts one launch. Launches of one device take effect in the order in which they were made. A
  /// driver may run it to its end inside this call. Tensors that leave their allocation are
  /// INVALID.
  int (*launch)(echelon_chip_device* device, echelon_chip_kernel* kernel,
                const echelon_chip_launch_spec* spec, echelon_chip_launch* launch,
                echelon_chip_error* error);
  /// Looks whether a launch has ended. OK: ended well. PENDING: not ended. FAULT: ended, and
  /// `error` says why. After anything but PENDING the launch is not valid any more. poll() never
  /// blocks.
  int (*poll)(echelon_chip_device* device, echelon_chip_launch launch, echelon_chip_error* error);
  /// As poll(), after waiting until it has ended or `timeout_ns` has passed; UINT64_MAX: for ever.
  int (*wait)(echelon_chip_device* device, echelon_chip_launch launch, uint64_t timeout_ns,
              echelon_chip_error* error);

  // --- state ----------------------------------------------------------------------------------
  /// The text of the device's last fault, empty if none. Any thread.
  void (*fault)(echelon_chip_device* device, echelon_chip_error* text);
  /// Whether the device can be used: OK, or LOST with what is wrong. Any thread.
  int (*health)(echelon_chip_device* device, echelon_chip_error* error);

  // --- windows: optional, all four or none ----------------------------------------------------
  // Memory that the kernels of other chips on this machine can reach. A window is device memory
  // (free, copy_in, copy_out and tensors take it) that can be exported as a descriptor, which
  // another process imports. Not called by runtimes that know ABI 1 alone.

  /// Memory that the kernels of other chips on this machine can reach; otherwise as allocate().
  int (*window_allocate)(echelon_chip_device* device, uint64_t bytes, echelon_chip_memory* window,
                         echelon_chip_error* error);
  /// A file descriptor for another process's window_import(). The caller owns it.
  int (*window_export)(echelon_chip_device* device, echelon_chip_memory window, int* descriptor,
                       echelon_chip_error* error);
  /// Another chip's window of `bytes` bytes, for this chip's kernels. The descriptor stays the
  /// caller's.
  int (*window_import)(echelon_chip_device* device, int descriptor, uint64_t bytes,
                       echelon_chip_memory* window, echelon_chip_error* error);
  /// Orders what this chip's kernels wrote before what other chips' kernels then read.
  int (*window_flush)(echelon_chip_device* device, echelon_chip_memory window,
                      echelon_chip_error* error);

  // --- native collectives: optional -----------------------------------------------------------
  /// Null in this version.
  const echelon_chip_collectives* collectives;
} echelon_chip_driver_v1;

/// The one exported function. A driver that has a table of `abi_version` returns it; it is constant
/// and valid while the library is loaded. Otherwise it returns the table of the newest version it
/// has, whose abi_version tells the runtime so. Never null.
typedef const echelon_chip_driver_v1* (*echelon_chip_driver_get_function)(uint32_t abi_version);

#ifdef __cplusplus
}
#endif
