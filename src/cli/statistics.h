// SPDX-License-Identifier: Apache-2.0
//
// The little statistics that benchmarks need. Threads: safe.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace echelon::cli {

/// The value below which `percent` of the samples lie, linear between neighbours; 0 of none.
/// REQUIRES: 0 <= percent <= 100.
double percentile(std::vector<double> samples, double percent);

inline double median(std::vector<double> samples) {
  return percentile(std::move(samples), 50);
}

struct Point {
  double x = 0, y = 0;
};

/// y = intercept + slope * x, by least squares. One point, or points of one x, have slope 0.
struct Line {
  double intercept = 0, slope = 0;
};
Line fit_line(std::span<const Point> points);

}  // namespace echelon::cli
