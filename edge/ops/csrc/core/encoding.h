// The encodings: how the codes of a table lie in its 64-byte lines (core/layout.h). The rows come from
// edge/formats/encoding.py, the only place that lists them; everything that kernels need to know of an
// encoding derives from its row.
#pragma once

#include <cstdint>

namespace edge {

enum class Encoding : uint16_t;

constexpr int kMaxPlanes = 3;

struct EncodingTraits {
  const char* name;
  Encoding id;
  int codes;               // different codes; 0: the table holds IEEE half values
  int group_columns;       // columns that fill whole 64-byte lines of 16 rows
  int group_lines;         // lines of such a group
  int planes[kMaxPlanes];  // bits of the planes of a code, lowest first; 0 where there are fewer

  constexpr bool is_quantized() const { return codes > 0; }
  constexpr bool has_planes() const { return planes[0] > 0; }
  constexpr int largest_code() const { return codes - 1; }
  constexpr int code_bits() const { return planes[0] + planes[1] + planes[2]; }
};

#include "core/encodings.inc"

static constexpr const EncodingTraits* find_encoding(uint16_t id) {
  for (const EncodingTraits& traits : kEncodings) {
    if (static_cast<uint16_t>(traits.id) == id) return &traits;
  }
  return nullptr;
}

static constexpr const EncodingTraits& traits_of(Encoding encoding) {
  return *find_encoding(static_cast<uint16_t>(encoding));
}

}  // namespace edge
