# SPDX-License-Identifier: Apache-2.0
#
# Adds build_id() (src/base/build_id.h) to echelon_base. The digest is taken at each build, as a
# source may change without CMake running again; the file is rewritten only when it differs.

set(echelon_build_id_source ${PROJECT_BINARY_DIR}/generated/build_id.cc)
add_custom_target(echelon_build_id
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DOUTPUT=${echelon_build_id_source}
          -P ${CMAKE_CURRENT_LIST_DIR}/write_build_id.cmake
  BYPRODUCTS ${echelon_build_id_source}
  COMMENT "Build id"
  VERBATIM)
target_sources(echelon_base PRIVATE ${echelon_build_id_source})
add_dependencies(echelon_base echelon_build_id)
