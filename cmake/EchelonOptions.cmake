# SPDX-License-Identifier: Apache-2.0
#
# echelon_options: what every target of ours is compiled with. Includes are spelled from src/ and
# include/; fmt is header-only in cross builds, whose libraries of others we do not have.

add_library(echelon_options INTERFACE)
target_compile_options(echelon_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -fno-omit-frame-pointer $<$<BOOL:${ECHELON_WERROR}>:-Werror>)
target_include_directories(echelon_options INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(echelon_options INTERFACE Threads::Threads)

if(CMAKE_CROSSCOMPILING)
  target_compile_definitions(echelon_options INTERFACE FMT_HEADER_ONLY=1)
else()
  find_package(fmt REQUIRED)
  target_link_libraries(echelon_options INTERFACE fmt::fmt)
endif()

if(ECHELON_SANITIZE STREQUAL "address")
  set(echelon_sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(ECHELON_SANITIZE STREQUAL "thread")
  set(echelon_sanitize -fsanitize=thread)
endif()
if(ECHELON_FUZZ)
  list(APPEND echelon_sanitize -fsanitize=fuzzer-no-link)
endif()
target_compile_options(echelon_options INTERFACE ${echelon_sanitize})
target_link_options(echelon_options INTERFACE ${echelon_sanitize})
