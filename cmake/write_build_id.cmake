# SPDX-License-Identifier: Apache-2.0
#
# cmake -DSOURCE_DIR=... -DOUTPUT=... -P write_build_id.cmake: writes the definition of build_id().

file(GLOB_RECURSE files LIST_DIRECTORIES false RELATIVE ${SOURCE_DIR}
  ${SOURCE_DIR}/src/*.h ${SOURCE_DIR}/src/*.cc ${SOURCE_DIR}/src/*.c ${SOURCE_DIR}/include/*.h)
list(FILTER files EXCLUDE REGEX "_(test|bench|fuzz)\\.cc$")
list(SORT files)

set(digests "")
foreach(file IN LISTS files)
  file(SHA256 ${SOURCE_DIR}/${file} digest)
  string(APPEND digests "${digest} ${file}\n")
endforeach()
string(SHA256 build_id "${digests}")

set(content "// SPDX-License-Identifier: Apache-2.0
#include \"base/build_id.h\"

namespace echelon {

std::string_view build_id() {
  return \"${build_id}\";
}

}  // namespace echelon
")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT before STREQUAL content)
  file(WRITE ${OUTPUT} "${content}")
endif()
