# SPDX-License-Identifier: Apache-2.0
#
# One library and its programs, extension modules for several Pythons: a build folder writes down
# what it builds (echelon-prebuilt.cmake), and with -DECHELON_PREBUILT=FOLDER another takes all of
# that as it lies there and has the Python extension alone to build.

set(prebuilt_file echelon-prebuilt.cmake)

if(ECHELON_PREBUILT)
  # What the targets were linked with.
  find_package(Threads REQUIRED)
  find_package(fmt REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(nlohmann_json REQUIRED)
  find_package(OpenSSL REQUIRED)
  find_package(ZLIB REQUIRED)
  include(${ECHELON_PREBUILT}/${prebuilt_file})
elseif(TARGET echelon_cli_main)
  list(TRANSFORM ECHELON_LAYERS PREPEND echelon_ OUTPUT_VARIABLE layers)
  set(transports echelon_grpc)
  if(TARGET echelon_ucx)
    list(APPEND transports echelon_ucx)
  endif()
  export(FILE ${PROJECT_BINARY_DIR}/${prebuilt_file}
    TARGETS echelon echelon_cli_main echelon_chip_main echelon_grpc_floor echelon_driver_cpu
            ${transports} echelon_digits digits_callables digits_kernel echelon_options ${layers})
endif()
