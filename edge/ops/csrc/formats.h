// The table of weight formats. The rows come from edge/formats.py, the only place that lists them.
#pragma once

#include <cstdint>

namespace edge {

struct WeightFormat {
  const char* name;
  uint16_t id;
  int code_bits;
  int levels;  // 0: not quantised, the table holds IEEE half values
  int step;    // level = step * code + offset
  int offset;
  float unit;  // weight = level * unit * alpha

  constexpr bool is_quantized() const { return levels > 0; }
};

#include "formats.inc"

inline const WeightFormat* find_format(uint16_t id) {
  for (const WeightFormat& format : kFormats) {
    if (format.id == id) return &format;
  }
  return nullptr;
}

}  // namespace edge
