# SPDX-License-Identifier: Apache-2.0
#
# echelon_layer(NAME SOURCES ... TESTS ... DEPS ... [LABELS ...])
#   One layer of src/: a static library echelon_NAME (position independent, hidden symbols) and,
#   where TESTS are given, one test program NAME_test.
# echelon_test(NAME SOURCES ... DEPS ... [LABELS ...])
#   A GoogleTest program. Every case of it is a CTest case and so a process of its own.
#   Test programs are not in `all`: `ninja tests` builds them. Their own sources are not optimised,
#   which halves the time of the sanitizer builds; the layers that they test are.

find_package(Threads REQUIRED)
include(EchelonOptions)
if(ECHELON_TESTS)
  include(EchelonGTest)
  add_custom_target(tests)
endif()

function(echelon_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;DEPS;LABELS" ${ARGN})
  add_library(echelon_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(echelon_${name} PUBLIC echelon_options ${ARG_DEPS})
  if(ECHELON_TESTS AND ARG_TESTS)
    echelon_test(${name}_test
      SOURCES ${ARG_TESTS} DEPS echelon_${name} LABELS ${name} ${ARG_LABELS})
  endif()
endfunction()

# For tests that go over gRPC: its threads go on to the end of the process, and LeakSanitizer cannot
# look at a process whose threads do not stand still.
set(ECHELON_WITHOUT_LEAK_CHECK "LSAN_OPTIONS=detect_leaks=0")

function(echelon_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)
  target_compile_options(${name} PRIVATE -O0)
  add_dependencies(tests ${name})
  # gtest_discover_tests unpacks its properties four times; each time halves what guards a list.
  string(REPEAT "\\" 8 guard)
  string(REPLACE ";" "${guard};" labels "${ARG_LABELS}")
  set(environment "")
  if(ARG_LABELS MATCHES remote)
    set(environment ENVIRONMENT ${ECHELON_WITHOUT_LEAK_CHECK})
  endif()
  gtest_discover_tests(${name}
    PROPERTIES TIMEOUT 120 LABELS "${labels}" ${environment} DISCOVERY_TIMEOUT 60)
endfunction()
