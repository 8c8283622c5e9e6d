# SPDX-License-Identifier: Apache-2.0
#
# cmake -DCOMPILER=... -DSOURCE=... -DINCLUDE_DIR=... -DDEFINES=... -DPATTERN_FILE=... -P this file
# See EchelonNegativeCompile.cmake.

execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only -fdiagnostics-color=never
          ${DEFINES} -I${INCLUDE_DIR} ${SOURCE}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(status EQUAL 0)
  message(FATAL_ERROR "It compiles: ${SOURCE}")
endif()

file(STRINGS ${PATTERN_FILE} patterns)
foreach(pattern IN LISTS patterns)
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR
      "${SOURCE} is refused, but no line matches '${pattern}'. The compiler said:\n${output}")
  endif()
endforeach()
