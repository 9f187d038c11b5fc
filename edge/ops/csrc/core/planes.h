// Take the codes of a group of 32 columns from its lines, one byte a code, and put them back (layout.h).
// Written for tables that are made once and run often; kernels have faster ways of their own.
#pragma once

#include <cstdint>

#include "core/encoding.h"

namespace edge {

inline constexpr int kQuads = 8;  // of a group: a quad is four columns of 16 rows, 64 lanes

// codes[quad][lane] of encodings with planes; `lines` are the encoding's group_lines.
struct GroupCodes {
  uint8_t quads[kQuads][64];
};

void codes_of_lines(const EncodingTraits& encoding, const uint8_t* lines, GroupCodes* codes);
void lines_of_codes(const EncodingTraits& encoding, const GroupCodes& codes, uint8_t* lines);

}  // namespace edge
