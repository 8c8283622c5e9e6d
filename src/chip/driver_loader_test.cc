// SPDX-License-Identifier: Apache-2.0
#include "chip/driver_loader.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chip/device.h"

namespace echelon {
namespace {

using testing::Contains;
using testing::EndsWith;
using testing::HasSubstr;

std::string message(const Status& status) {
  return status.ok() ? "" : status.info().message;
}

TEST(DriverLoader, FindsAndLoadsTheCpuDriver) {
  const auto driver = ChipDriver::load("cpu");
  ASSERT_TRUE(driver.ok()) << driver.status().to_string();
  EXPECT_THAT(driver->where(), EndsWith("lib/echelon/drivers/libechelon_driver_cpu.so"));
  EXPECT_THAT(known_drivers(), Contains("cpu"));
}

TEST(DriverLoader, AnUnknownDriverIsNamedWithThePlacesAndTheKnownOnes) {
  const auto driver = ChipDriver::load("abacus");
  ASSERT_FALSE(driver.ok());
  EXPECT_EQ(driver.status().reason(), Reason::kDriver);
  EXPECT_THAT(message(driver.status()), HasSubstr("unknown chip driver 'abacus'"));
  EXPECT_THAT(message(driver.status()), HasSubstr("libechelon_driver_abacus.so"));
  EXPECT_THAT(message(driver.status()), HasSubstr("lib/echelon/drivers"));
  EXPECT_THAT(message(driver.status()), HasSubstr("cpu"));
}

TEST(DriverLoader, LooksThroughTheDriverPath) {
  ::setenv("ECHELON_DRIVER_PATH", "/nowhere:" ECHELON_TEST_DRIVERS, 1);
  const auto file = find_driver("skewed");
  ::unsetenv("ECHELON_DRIVER_PATH");
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ(*file, ECHELON_TEST_DRIVERS "/libechelon_driver_skewed.so");
}

TEST(DriverLoader, AnotherVersionIsRefusedWithBothVersions) {
  const auto driver = ChipDriver::load(ECHELON_TEST_DRIVERS "/libechelon_driver_skewed.so");
  ASSERT_FALSE(driver.ok());
  EXPECT_THAT(message(driver.status()),
              HasSubstr("has driver ABI version 7; this runtime has version 1"));
}

TEST(DriverLoader, ALibraryThatIsNoDriverIsRefused) {
  const auto driver = ChipDriver::load(ECHELON_TEST_KERNELS);
  ASSERT_FALSE(driver.ok());
  EXPECT_THAT(message(driver.status()), HasSubstr("is no chip driver"));
}

TEST(DriverLoader, AFileThatIsNoLibraryIsRefused) {
  EXPECT_THAT(message(ChipDriver::load("/etc/passwd").status()), HasSubstr("does not load"));
  EXPECT_THAT(message(ChipDriver::load("/nowhere/driver.so").status()),
              HasSubstr("there is no such file"));
}

TEST(DriverLoader, ATableThatLacksEntriesIsRefusedByTheirNames) {
  echelon_chip_driver_v1 table = ChipDriver::load("cpu")->table();
  table.copy_in = nullptr;
  // Ends before wait(): everything from there on does not exist.
  table.struct_size = offsetof(echelon_chip_driver_v1, wait);
  const auto driver = ChipDriver::from_table(&table, "here");
  ASSERT_FALSE(driver.ok());
  EXPECT_THAT(message(driver.status()), HasSubstr("lacks copy_in, wait, fault, health"));
  EXPECT_THAT(message(ChipDriver::from_table(nullptr, "here").status()), HasSubstr("no table"));
}

TEST(DriverLoader, AnOlderTableWithoutOptionalEntriesIsTaken) {
  echelon_chip_driver_v1 table = ChipDriver::load("cpu")->table();
  table.struct_size = offsetof(echelon_chip_driver_v1, window_allocate);
  EXPECT_TRUE(ChipDriver::from_table(&table, "here").ok());
}

TEST(DriverLoader, AMissingChipExecutableIsNamedWithItsPlace) {
  ::setenv("ECHELON_LIBEXEC", "/nowhere", 1);
  const auto found = find_chip_executable();
  ::unsetenv("ECHELON_LIBEXEC");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().reason(), Reason::kStartFailed);
  EXPECT_THAT(message(found.status()), HasSubstr("/nowhere/chip"));
}

TEST(ChipDevice, OptionsReachTheDriverAndItsErrorsTheCaller) {
  const auto driver = ChipDriver::load("cpu");
  ASSERT_TRUE(driver.ok());
  const auto bad =
      ChipDevice::open(*driver, {.driver = "cpu", .device = 3, .options = {{"x", "y"}}});
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(message(bad.status()), HasSubstr("device 3 does not open"));
  EXPECT_THAT(message(bad.status()), HasSubstr("unknown option 'x'"));

  auto device = ChipDevice::open(
      *driver, {.driver = "cpu", .device = 0, .options = {{"memory", "65536"}, {"cores", "3"}}});
  ASSERT_TRUE(device.ok()) << device.status().to_string();
  EXPECT_EQ(device->info()->memory_bytes, 65536u);
  EXPECT_EQ(device->info()->cores, 3u);
  const auto memory = device->allocate(65537);
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.status().reason(), Reason::kExhausted);
  EXPECT_THAT(message(memory.status()), HasSubstr("65536 of 65536 bytes are free"));
}

}  // namespace
}  // namespace echelon
