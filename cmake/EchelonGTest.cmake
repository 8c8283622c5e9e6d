# SPDX-License-Identifier: Apache-2.0
#
# GoogleTest: the installed one, or built from Debian's source package (googletest) in cross builds.

if(CMAKE_CROSSCOMPILING)
  set(ECHELON_GTEST_SOURCE /usr/src/googletest CACHE PATH "Source of GoogleTest")
  set(BUILD_GMOCK ON)
  set(INSTALL_GTEST OFF)
  add_subdirectory(${ECHELON_GTEST_SOURCE} ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
else()
  find_package(GTest REQUIRED)
endif()
include(GoogleTest)
