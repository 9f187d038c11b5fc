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
  float unit;         // weight = level * unit * alpha
  int group_columns;  // columns that fill whole 64-byte lines of 16 rows
  int group_lines;    // lines of such a group

  constexpr bool is_quantized() const { return levels > 0; }
  // Five ternary codes in a byte; every other format gives each code its own bits.
  constexpr bool is_base3() const { return levels == 3 && group_columns == 20; }
};

#include "core/formats_table.inc"

inline const WeightFormat* find_format(uint16_t id) {
  for (const WeightFormat& format : kFormats) {
    if (format.id == id) return &format;
  }
  return nullptr;
}

}  // namespace edge
