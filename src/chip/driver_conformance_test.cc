// SPDX-License-Identifier: Apache-2.0
//
// What echelon/chip_driver.h promises, as tests over the C ABI, for every driver. A driver that has
// no device on this machine is skipped by name.
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <echelon/dtype.h>

#include "chip/driver_loader.h"

namespace echelon {
namespace {

constexpr std::uint64_t kForEver = std::numeric_limits<std::uint64_t>::max();

class DriverConformance : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto loaded = ChipDriver::load(GetParam());
    ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
    driver_ = std::make_unique<ChipDriver>(std::move(loaded).value());
    std::uint32_t count = 0;
    ASSERT_EQ(table().device_count(&count, error()), ECHELON_CHIP_OK) << text_;
    if (count == 0) GTEST_SKIP() << "driver " << GetParam() << " has no device here";
    ASSERT_EQ(table().open(0, nullptr, 0, &device_, error()), ECHELON_CHIP_OK) << text_;
  }
  void TearDown() override {
    if (device_ != nullptr) table().close(device_);
  }

  const echelon_chip_driver_v1& table() const { return driver_->table(); }
  echelon_chip_error* error() {
    text_[0] = '\0';
    return &error_;
  }
  std::string text() const { return text_; }

  echelon_chip_memory allocate(std::uint64_t bytes) {
    echelon_chip_memory memory = 0;
    EXPECT_EQ(table().allocate(device_, bytes, 0, &memory, error()), ECHELON_CHIP_OK) << text_;
    return memory;
  }
  template <class T>
  echelon_chip_memory put(const std::vector<T>& values) {
    const echelon_chip_memory memory = allocate(values.size() * sizeof(T));
    EXPECT_EQ(
        table().copy_in(device_, memory, 0, values.data(), values.size() * sizeof(T), error()),
        ECHELON_CHIP_OK)
        << text_;
    return memory;
  }
  template <class T>
  std::vector<T> get(echelon_chip_memory memory, std::size_t count) {
    std::vector<T> values(count);
    EXPECT_EQ(table().copy_out(device_, values.data(), memory, 0, count * sizeof(T), error()),
              ECHELON_CHIP_OK)
        << text_;
    return values;
  }

  static std::string file_bytes(const char* path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  echelon_chip_kernel* kernel(const char* name, const char* file = ECHELON_TEST_KERNELS) {
    const std::string bytes = file_bytes(file);
    echelon_chip_image* image = nullptr;
    EXPECT_EQ(table().load_image(device_, bytes.data(), bytes.size(), &image, error()),
              ECHELON_CHIP_OK)
        << text_;
    echelon_chip_kernel* found = nullptr;
    EXPECT_EQ(table().find_kernel(device_, image, name, &found, error()), ECHELON_CHIP_OK) << text_;
    return found;
  }

  template <class T>
  static echelon_chip_tensor tensor(echelon_chip_memory memory, std::size_t count, int access = 3) {
    echelon_chip_tensor t{};
    t.memory = memory;
    t.dtype = static_cast<std::uint8_t>(dtype_of<T>());
    t.rank = 1;
    t.access = static_cast<std::uint8_t>(access);
    t.extent[0] = static_cast<std::int64_t>(count);
    t.stride[0] = sizeof(T);
    return t;
  }
  static echelon_chip_scalar scalar(float value) {
    echelon_chip_scalar s{};
    s.dtype = static_cast<std::uint8_t>(DType::kFloat32);
    std::memcpy(s.bytes, &value, sizeof value);
    return s;
  }
  struct Launch {
    std::vector<echelon_chip_tensor> tensors;
    std::vector<echelon_chip_scalar> scalars = {};
    std::array<std::uint32_t, 3> grid = {1, 1, 1};
    std::uint32_t cores = 0;
    std::vector<echelon_chip_option> values = {};
    std::uint32_t profiling = 0;
  };
  static echelon_chip_launch_spec spec_of(const Launch& launch) {
    echelon_chip_launch_spec spec{};
    spec.struct_size = sizeof spec;
    std::copy(launch.grid.begin(), launch.grid.end(), spec.grid);
    spec.cores = launch.cores;
    spec.profiling = launch.profiling;
    spec.tensor_count = static_cast<std::uint32_t>(launch.tensors.size());
    spec.scalar_count = static_cast<std::uint32_t>(launch.scalars.size());
    spec.value_count = static_cast<std::uint32_t>(launch.values.size());
    spec.tensors = launch.tensors.data();
    spec.scalars = launch.scalars.data();
    spec.values = launch.values.data();
    return spec;
  }
  /// Launches and waits; the code of whichever said no first.
  int run(echelon_chip_kernel* function, const Launch& launch) {
    const echelon_chip_launch_spec spec = spec_of(launch);
    echelon_chip_launch id = 0;
    const int code = table().launch(device_, function, &spec, &id, error());
    if (code != ECHELON_CHIP_OK) return code;
    EXPECT_NE(id, 0u);
    return table().wait(device_, id, kForEver, error());
  }

  std::unique_ptr<ChipDriver> driver_;
  echelon_chip_device* device_ = nullptr;
  char text_[512] = "";
  echelon_chip_error error_{text_, sizeof text_};
};

INSTANTIATE_TEST_SUITE_P(Drivers, DriverConformance, testing::Values("cpu"));

TEST_P(DriverConformance, SaysWhatItIs) {
  EXPECT_STREQ(table().name, GetParam());
  echelon_chip_device_info info{};
  info.struct_size = sizeof info;
  ASSERT_EQ(table().device_info(device_, &info, error()), ECHELON_CHIP_OK) << text_;
  EXPECT_GT(info.cores, 0u);
  EXPECT_GE(info.cores_max, info.cores);
  EXPECT_GT(info.launches_max, 0u);
  EXPECT_GT(info.memory_bytes, 0u);
  EXPECT_STRNE(info.name, "");
  EXPECT_EQ(table().health(device_, error()), ECHELON_CHIP_OK);
}

TEST_P(DriverConformance, AnOlderCallersInfoIsNotOverrun) {
  struct {
    echelon_chip_device_info info;
  } memory;
  std::memset(&memory, 0x5a, sizeof memory);
  memory.info.struct_size = 8;
  ASSERT_EQ(table().device_info(device_, &memory.info, error()), ECHELON_CHIP_OK);
  EXPECT_EQ(memory.info.cores_max, 0x5a5a5a5au);
}

TEST_P(DriverConformance, UnknownOptionsAreRefusedByName) {
  const echelon_chip_option option{"colour", "blue"};
  echelon_chip_device* other = nullptr;
  EXPECT_EQ(table().open(0, &option, 1, &other, error()), ECHELON_CHIP_INVALID);
  EXPECT_NE(text().find("colour"), std::string::npos);
}

TEST_P(DriverConformance, BytesComeBackAsTheyWere) {
  std::vector<std::uint8_t> bytes(100'003);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{3});
  const auto memory = put(bytes);
  EXPECT_EQ(get<std::uint8_t>(memory, bytes.size()), bytes);
}

TEST_P(DriverConformance, CopiesReachIntoTheMiddle) {
  const auto memory = put(std::vector<std::uint8_t>(16, 1));
  const std::uint8_t two[2] = {2, 2};
  ASSERT_EQ(table().copy_in(device_, memory, 5, two, 2, error()), ECHELON_CHIP_OK);
  ASSERT_EQ(table().fill(device_, memory, 14, 9, 2, error()), ECHELON_CHIP_OK);
  EXPECT_EQ(get<std::uint8_t>(memory, 16),
            (std::vector<std::uint8_t>{1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1, 1, 9, 9}));
}

TEST_P(DriverConformance, CopiesThatLeaveTheAllocationAreRefused) {
  const auto memory = allocate(64);
  std::array<std::uint8_t, 128> bytes{};
  EXPECT_EQ(table().copy_in(device_, memory, 0, bytes.data(), 65, error()), ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().copy_out(device_, bytes.data(), memory, 64, 1, error()), ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().copy_in(device_, memory, kForEver, bytes.data(), 2, error()),
            ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().fill(device_, memory, 1, 0, 64, error()), ECHELON_CHIP_INVALID);
  EXPECT_NE(text(), "");
}

TEST_P(DriverConformance, FreedNamesAreStale) {
  const auto memory = allocate(64);
  ASSERT_EQ(table().free(device_, memory, error()), ECHELON_CHIP_OK);
  EXPECT_EQ(table().free(device_, memory, error()), ECHELON_CHIP_INVALID);
  std::uint8_t byte = 0;
  EXPECT_EQ(table().copy_out(device_, &byte, memory, 0, 1, error()), ECHELON_CHIP_INVALID);
  EXPECT_NE(allocate(64), memory);
}

TEST_P(DriverConformance, BadAllocationsAreRefused) {
  echelon_chip_memory memory = 0;
  EXPECT_EQ(table().allocate(device_, 0, 0, &memory, error()), ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().allocate(device_, 64, 3, &memory, error()), ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().allocate(device_, kForEver / 2, 0, &memory, error()), ECHELON_CHIP_NO_MEMORY);
  EXPECT_NE(text(), "");
}

TEST_P(DriverConformance, AKernelComputes) {
  const auto x = put(std::vector<float>{1, 2, 3, 4, 5});
  const auto y = allocate(5 * sizeof(float));
  Launch launch{{tensor<float>(x, 5, 1), tensor<float>(y, 5, 2)}, {scalar(2)}};
  ASSERT_EQ(run(kernel("scale"), launch), ECHELON_CHIP_OK) << text_;
  EXPECT_EQ(get<float>(y, 5), (std::vector<float>{2, 4, 6, 8, 10}));
}

TEST_P(DriverConformance, EveryBlockOfTheGridIsCalledOnce) {
  constexpr std::uint32_t kBlocks = 5 * 3 * 2;
  for (const std::uint32_t cores : {0u, 1u, 2u, 7u}) {
    const auto hits = put(std::vector<std::uint32_t>(kBlocks, 0));
    const auto seen = put(std::vector<std::uint32_t>(kBlocks, 0));
    Launch launch{
        .tensors = {tensor<std::uint32_t>(hits, kBlocks), tensor<std::uint32_t>(seen, kBlocks)},
        .grid = {5, 3, 2},
        .cores = cores};
    ASSERT_EQ(run(kernel("count_blocks"), launch), ECHELON_CHIP_OK) << text_;
    std::vector<std::uint32_t> expected(kBlocks);
    std::iota(expected.begin(), expected.end(), 1u);
    EXPECT_EQ(get<std::uint32_t>(hits, kBlocks), expected);
    if (cores != 0) {
      EXPECT_EQ(get<std::uint32_t>(seen, kBlocks), std::vector<std::uint32_t>(kBlocks, cores));
    }
  }
}

TEST_P(DriverConformance, ValuesAndProfilingArrive) {
  const auto out = allocate(4 * sizeof(std::uint32_t));
  Launch launch{.tensors = {tensor<std::uint32_t>(out, 4)},
                .grid = {1, 1, 1},
                .cores = 3,
                .values = {{"colour", "blue"}, {"mode", "exact"}},
                .profiling = 5};
  ASSERT_EQ(run(kernel("read_config"), launch), ECHELON_CHIP_OK) << text_;
  EXPECT_EQ(get<std::uint32_t>(out, 4), (std::vector<std::uint32_t>{1, 5, 3, 1}));
}

TEST_P(DriverConformance, AFailureIsAFaultWithItsTextAndTheDeviceGoesOn) {
  EXPECT_EQ(run(kernel("fail_in_block_3"), {.tensors = {}, .grid = {8, 1, 1}}), ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "block 3 does not like this");
  table().fault(device_, error());
  EXPECT_EQ(text(), "block 3 does not like this");
  EXPECT_EQ(table().health(device_, error()), ECHELON_CHIP_OK);
  EXPECT_EQ(run(kernel("idle"), {.tensors = {}}), ECHELON_CHIP_OK);
}

TEST_P(DriverConformance, ExceptionsAreFaults) {
  EXPECT_EQ(run(kernel("throw_error"), {.tensors = {}}), ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "thrown by a kernel");
  EXPECT_EQ(run(kernel("throw_number"), {.tensors = {}, .grid = {4, 1, 1}, .cores = 2}),
            ECHELON_CHIP_FAULT);
  EXPECT_NE(text().find("no std::exception"), std::string::npos);
}

TEST_P(DriverConformance, AKernelChecksItsArguments) {
  const auto memory = allocate(4 * sizeof(float));
  echelon_chip_kernel* scale = kernel("scale");
  EXPECT_EQ(run(scale, {{tensor<double>(memory, 2), tensor<float>(memory, 2)}, {scalar(1)}}),
            ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "tensor 0 is float64; the kernel takes float32");
  EXPECT_EQ(run(scale, {{tensor<float>(memory, 2), tensor<float>(memory, 2, 1)}, {scalar(1)}}),
            ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "tensor 1 is an input; the kernel writes it");
  EXPECT_EQ(run(scale, {{tensor<float>(memory, 2)}, {scalar(1)}}), ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "tensor 1 was asked for; the task has 1");
  EXPECT_EQ(run(scale, {{tensor<float>(memory, 2), tensor<float>(memory, 2)}}), ECHELON_CHIP_FAULT);
  EXPECT_EQ(text(), "scalar 0 was asked for; the task has 0");
}

TEST_P(DriverConformance, TensorsThatLeaveTheirAllocationAreRefused) {
  const auto memory = allocate(64);
  echelon_chip_kernel* idle = kernel("idle");
  EXPECT_EQ(run(idle, {{tensor<float>(memory, 16)}}), ECHELON_CHIP_OK) << text_;
  EXPECT_EQ(run(idle, {{tensor<float>(memory, 17)}}), ECHELON_CHIP_INVALID);
  EXPECT_EQ(run(idle, {{tensor<float>(memory + 1, 1)}}), ECHELON_CHIP_INVALID);
  echelon_chip_tensor huge = tensor<float>(memory, 16);
  huge.stride[0] = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(run(idle, {{huge}}), ECHELON_CHIP_INVALID);
  huge = tensor<float>(memory, 1);
  huge.offset = kForEver;
  EXPECT_EQ(run(idle, {{huge}}), ECHELON_CHIP_INVALID);
  huge = tensor<float>(memory, 1);
  huge.rank = 9;
  EXPECT_EQ(run(idle, {{huge}}), ECHELON_CHIP_INVALID);
}

TEST_P(DriverConformance, AnEmptyTensorNeedsNoMemory) {
  EXPECT_EQ(run(kernel("scale"), {{tensor<float>(0, 0), tensor<float>(0, 0)}, {scalar(1)}}),
            ECHELON_CHIP_OK)
      << text_;
}

TEST_P(DriverConformance, BadGridsAreRefused) {
  echelon_chip_kernel* idle = kernel("idle");
  EXPECT_EQ(run(idle, {.tensors = {}, .grid = {0, 1, 1}}), ECHELON_CHIP_INVALID);
  const std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(run(idle, {.tensors = {}, .grid = {most, most, most}}), ECHELON_CHIP_INVALID);
  EXPECT_EQ(run(idle, {.tensors = {}, .cores = most}), ECHELON_CHIP_INVALID);
}

TEST_P(DriverConformance, AnEndedLaunchIsNotALaunchAnyMore) {
  const echelon_chip_launch_spec spec = spec_of({.tensors = {}});
  echelon_chip_launch id = 0;
  ASSERT_EQ(table().launch(device_, kernel("idle"), &spec, &id, error()), ECHELON_CHIP_OK);
  int code = ECHELON_CHIP_PENDING;
  while (code == ECHELON_CHIP_PENDING) code = table().poll(device_, id, error());
  EXPECT_EQ(code, ECHELON_CHIP_OK);
  EXPECT_EQ(table().poll(device_, id, error()), ECHELON_CHIP_INVALID);
  EXPECT_EQ(table().wait(device_, 0, 0, error()), ECHELON_CHIP_INVALID);
}

TEST_P(DriverConformance, ManyLaunchesInFlightEndInBusyThenGoOn) {
  echelon_chip_device_info info{};
  info.struct_size = sizeof info;
  ASSERT_EQ(table().device_info(device_, &info, error()), ECHELON_CHIP_OK);
  const echelon_chip_launch_spec spec = spec_of({.tensors = {}});
  echelon_chip_kernel* idle = kernel("idle");
  std::vector<echelon_chip_launch> ids(info.launches_max + 1);
  for (std::uint32_t i = 0; i < info.launches_max; ++i) {
    ASSERT_EQ(table().launch(device_, idle, &spec, &ids[i], error()), ECHELON_CHIP_OK) << text_;
  }
  EXPECT_EQ(table().launch(device_, idle, &spec, &ids.back(), error()), ECHELON_CHIP_BUSY);
  for (std::uint32_t i = 0; i < info.launches_max; ++i) {
    EXPECT_EQ(table().wait(device_, ids[i], kForEver, error()), ECHELON_CHIP_OK) << text_;
  }
  EXPECT_EQ(table().launch(device_, idle, &spec, &ids.back(), error()), ECHELON_CHIP_OK);
}

TEST_P(DriverConformance, BytesThatAreNoImageAreRefused) {
  const std::string text_bytes = "this is not an image";
  echelon_chip_image* image = nullptr;
  EXPECT_EQ(table().load_image(device_, text_bytes.data(), text_bytes.size(), &image, error()),
            ECHELON_CHIP_IMAGE);
  EXPECT_NE(text(), "");
}

TEST_P(DriverConformance, AMissingKernelIsNamed) {
  const std::string bytes = file_bytes(ECHELON_TEST_KERNELS);
  echelon_chip_image* image = nullptr;
  ASSERT_EQ(table().load_image(device_, bytes.data(), bytes.size(), &image, error()),
            ECHELON_CHIP_OK);
  echelon_chip_kernel* found = nullptr;
  EXPECT_EQ(table().find_kernel(device_, image, "no_such_kernel", &found, error()),
            ECHELON_CHIP_NOT_FOUND);
  EXPECT_NE(text().find("no_such_kernel"), std::string::npos);
}

// A library is known by the path it was opened with: a place used again must mean the new image.
TEST_P(DriverConformance, AnImageLoadedWhereAnotherWasIsTheNewOne) {
  const std::string first = file_bytes(ECHELON_TEST_KERNELS);
  const std::string second = file_bytes(ECHELON_TEST_KERNEL_IN_C);
  for (int round = 0; round < 3; ++round) {
    echelon_chip_image* image = nullptr;
    ASSERT_EQ(table().load_image(device_, first.data(), first.size(), &image, error()),
              ECHELON_CHIP_OK);
    table().unload_image(device_, image);
    ASSERT_EQ(table().load_image(device_, second.data(), second.size(), &image, error()),
              ECHELON_CHIP_OK);
    echelon_chip_kernel* found = nullptr;
    EXPECT_EQ(table().find_kernel(device_, image, "fill_seven", &found, error()), ECHELON_CHIP_OK)
        << text_;
    table().unload_image(device_, image);
  }
}

TEST_P(DriverConformance, AKernelMayBeWrittenInC) {
  const auto memory = allocate(3 * sizeof(float));
  ASSERT_EQ(run(kernel("fill_seven", ECHELON_TEST_KERNEL_IN_C), {{tensor<float>(memory, 3)}}),
            ECHELON_CHIP_OK)
      << text_;
  EXPECT_EQ(get<float>(memory, 3), (std::vector<float>{7, 7, 7}));
}

TEST_P(DriverConformance, ErrorsFitIntoSmallAndAbsentBuffers) {
  char small[8];
  echelon_chip_error cut{small, sizeof small};
  EXPECT_EQ(table().free(device_, 12345, &cut), ECHELON_CHIP_INVALID);
  EXPECT_EQ(std::strlen(small), sizeof small - 1);
  EXPECT_EQ(table().free(device_, 12345, nullptr), ECHELON_CHIP_INVALID);
}

}  // namespace
}  // namespace echelon
