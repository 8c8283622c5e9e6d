# SPDX-License-Identifier: Apache-2.0
#
# gRPC and protobuf, and code generated from proto/.
#
# echelon_third_party_grpc: gRPC from its archives, so that it is no library of its own in a user's
#   process, who may have another one there. Debian's archives of protobuf, Abseil and RE2 cannot be
#   part of a shared object (their thread-local variables are compiled for programs), so these stay
#   the libraries that they are, like c-ares, OpenSSL and zlib.
# echelon_proto(NAME...): adds echelon_proto, with what protoc and its plugin make of
#   proto/echelon/v1/NAME.proto.

find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)

set(echelon_grpc_archives)
foreach(name IN ITEMS grpc++ grpc gpr address_sorting upb)
  find_library(ECHELON_ARCHIVE_${name} lib${name}.a REQUIRED)
  list(APPEND echelon_grpc_archives ${ECHELON_ARCHIVE_${name}})
endforeach()
get_target_property(echelon_grpc_needs gRPC::grpc INTERFACE_LINK_LIBRARIES)
get_target_property(echelon_gpr_needs gRPC::gpr INTERFACE_LINK_LIBRARIES)
set(echelon_grpc_libraries ${echelon_grpc_needs} ${echelon_gpr_needs})
list(FILTER echelon_grpc_libraries EXCLUDE REGEX "^gRPC::")
list(APPEND echelon_grpc_libraries protobuf::libprotobuf)
list(REMOVE_DUPLICATES echelon_grpc_libraries)

add_library(echelon_third_party_grpc INTERFACE)
target_link_libraries(echelon_third_party_grpc INTERFACE
  "$<LINK_GROUP:RESCAN,${echelon_grpc_archives}>" -Wl,--as-needed ${echelon_grpc_libraries})

function(echelon_proto)
  set(made ${PROJECT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${made})
  set(sources)
  foreach(name IN LISTS ARGN)
    set(proto ${PROJECT_SOURCE_DIR}/proto/echelon/v1/${name}.proto)
    set(stem ${made}/echelon/v1/${name})
    add_custom_command(
      OUTPUT ${stem}.pb.cc ${stem}.pb.h ${stem}.grpc.pb.cc ${stem}.grpc.pb.h
      COMMAND protobuf::protoc -I ${PROJECT_SOURCE_DIR}/proto --cpp_out=${made} --grpc_out=${made}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> ${proto}
      DEPENDS ${proto}
      VERBATIM)
    list(APPEND sources ${stem}.pb.cc ${stem}.grpc.pb.cc)
  endforeach()
  # Not of echelon_options: code of others is not held to our warnings.
  add_library(echelon_proto STATIC ${sources})
  target_include_directories(echelon_proto SYSTEM PUBLIC ${made})
  target_link_libraries(echelon_proto PUBLIC echelon_third_party_grpc)
endfunction()
