// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks what a program outside the library uses. Everything else is hidden.
#define ECHELON_API __attribute__((visibility("default")))
