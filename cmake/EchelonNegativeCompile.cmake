# SPDX-License-Identifier: Apache-2.0
#
# echelon_negative_compile_test(NAME FILE [REGEX...] [DEFINES NAME=VALUE...])
#   A CTest that compiles FILE (syntax only, as a user would, against include/) and passes if the
#   compiler refuses it *and* its message matches every REGEX (CMake's regular expressions). A file
#   that compiles, or is refused for another reason, fails the test and prints what was said.

function(echelon_negative_compile_test name file)
  cmake_parse_arguments(ARG "" "" "DEFINES" ${ARGN})
  get_filename_component(file ${file} ABSOLUTE)
  list(TRANSFORM ARG_DEFINES PREPEND "-D")
  # One pattern a line: a semicolon within one is no separator.
  list(JOIN ARG_UNPARSED_ARGUMENTS "\n" patterns)
  set(pattern_file ${CMAKE_CURRENT_BINARY_DIR}/${name}.patterns)
  file(GENERATE OUTPUT ${pattern_file} CONTENT "${patterns}\n")
  add_test(NAME negative_compile.${name}
    COMMAND ${CMAKE_COMMAND} -DCOMPILER=${CMAKE_CXX_COMPILER} -DSOURCE=${file}
            -DINCLUDE_DIR=${PROJECT_SOURCE_DIR}/include "-DDEFINES=${ARG_DEFINES}"
            -DPATTERN_FILE=${pattern_file} -P ${PROJECT_SOURCE_DIR}/cmake/expect_no_compile.cmake)
  set_tests_properties(negative_compile.${name} PROPERTIES LABELS negative_compile TIMEOUT 120)
endfunction()
