# SPDX-License-Identifier: Apache-2.0
#
# find_package(echelon): gives echelon::echelon. The library carries what it is made of, so that a
# program needs nothing but the C++ standard library and threads.

include(${CMAKE_CURRENT_LIST_DIR}/echelonTargets.cmake)
