# SPDX-License-Identifier: Apache-2.0
#
# Where the parts lie, in the build folder and installed alike, so that they find each other by
# relative paths: bin/echelon, lib/libechelon.so, lib/echelon/*.so, lib/echelon/drivers/*.so,
# libexec/echelon/chip, libexec/echelon/grpc_floor.
# They find each other by these paths in the build folder, too, so that a file is the same in both.
# And the package that find_package(echelon) finds, with the one target echelon::echelon.

include(CMakePackageConfigHelpers)

# echelon_program(FOLDER NAME UP TARGET): a program in FOLDER; lib/ lies UP from there.
function(echelon_program folder name up target)
  if(NOT TARGET ${target})
    return()
  endif()
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${name}
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${folder}
    INSTALL_RPATH "$ORIGIN/${up}/lib"
    BUILD_WITH_INSTALL_RPATH ON)
  install(TARGETS ${target} RUNTIME DESTINATION ${folder})
endfunction()

echelon_program(bin echelon .. echelon_cli_main)
echelon_program(libexec/echelon chip ../.. echelon_chip_main)
echelon_program(libexec/echelon grpc_floor ../.. echelon_grpc_floor)

foreach(driver IN ITEMS cpu)
  if(TARGET echelon_driver_${driver})
    set_target_properties(echelon_driver_${driver} PROPERTIES
      PREFIX lib
      LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/echelon/drivers
      INSTALL_RPATH "$ORIGIN/../.."
      BUILD_WITH_INSTALL_RPATH ON)
    install(TARGETS echelon_driver_${driver} LIBRARY DESTINATION lib/echelon/drivers)
  endif()
endforeach()

# Transports to other hosts (src/remote/transport.h).
foreach(transport IN ITEMS grpc ucx)
  if(TARGET echelon_${transport})
    set_target_properties(echelon_${transport} PROPERTIES
      PREFIX lib
      LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/echelon
      INSTALL_RPATH "$ORIGIN/.."
      BUILD_WITH_INSTALL_RPATH ON)
    install(TARGETS echelon_${transport} LIBRARY DESTINATION lib/echelon)
  endif()
endforeach()

if(TARGET echelon)
  set_target_properties(echelon PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_features(echelon INTERFACE cxx_std_20)
  install(TARGETS echelon EXPORT echelonTargets
    LIBRARY DESTINATION lib INCLUDES DESTINATION include)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/echelon DESTINATION include)
  install(EXPORT echelonTargets NAMESPACE echelon:: DESTINATION lib/cmake/echelon)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/echelonConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/echelonConfig.cmake
                ${PROJECT_BINARY_DIR}/echelonConfigVersion.cmake
    DESTINATION lib/cmake/echelon)
endif()
