// The median of timings.
#pragma once

#include <algorithm>
#include <vector>

namespace edge {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace edge
