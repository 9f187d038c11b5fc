#include "core/planes.h"

#include <cstring>

namespace edge {
namespace {

constexpr int kLanes = 64;

// A plane of 3 bits: quads 0 to 5 lie two to a line, 6 and 7 in the spare bits of all three lines.
void add_threes(const uint8_t* lines, int below, GroupCodes* codes) {
  for (int lane = 0; lane < kLanes; ++lane) {
    int spare = 0;
    for (int line = 0; line < 3; ++line) {
      const int byte = lines[line * kLanes + lane];
      codes->quads[2 * line][lane] |= static_cast<uint8_t>((byte & 7) << below);
      codes->quads[2 * line + 1][lane] |= static_cast<uint8_t>((byte >> 3 & 7) << below);
      spare |= (byte & 0xc0) >> 2 * line;
    }
    codes->quads[6][lane] |= static_cast<uint8_t>((spare >> 2 & 7) << below);
    codes->quads[7][lane] |= static_cast<uint8_t>((spare >> 5 & 7) << below);
  }
}

void put_threes(const GroupCodes& codes, int below, uint8_t* lines) {
  const auto code = [&](int quad, int lane) { return codes.quads[quad][lane] >> below & 7; };
  for (int lane = 0; lane < kLanes; ++lane) {
    const int spare = code(6, lane) << 2 | code(7, lane) << 5;
    for (int line = 0; line < 3; ++line) {
      lines[line * kLanes + lane] = static_cast<uint8_t>(
          code(2 * line, lane) | code(2 * line + 1, lane) << 3 | (spare << 2 * line & 0xc0));
    }
  }
}

void add_plane(const uint8_t* lines, int bits, int below, GroupCodes* codes) {
  const int positions = 8 / bits, mask = (1 << bits) - 1;
  for (int quad = 0; quad < kQuads; ++quad) {
    const uint8_t* line = lines + quad / positions * kLanes;
    const int shift = quad % positions * bits;
    for (int lane = 0; lane < kLanes; ++lane) {
      codes->quads[quad][lane] |= static_cast<uint8_t>((line[lane] >> shift & mask) << below);
    }
  }
}

void put_plane(const GroupCodes& codes, int bits, int below, uint8_t* lines) {
  const int positions = 8 / bits, mask = (1 << bits) - 1;
  std::memset(lines, 0, static_cast<size_t>(bits * kLanes));
  for (int quad = 0; quad < kQuads; ++quad) {
    uint8_t* line = lines + quad / positions * kLanes;
    const int shift = quad % positions * bits;
    for (int lane = 0; lane < kLanes; ++lane) {
      line[lane] |= static_cast<uint8_t>((codes.quads[quad][lane] >> below & mask) << shift);
    }
  }
}

}  // namespace

void codes_of_lines(const EncodingTraits& encoding, const uint8_t* lines, GroupCodes* codes) {
  std::memset(codes, 0, sizeof(*codes));
  int below = 0;
  for (const int bits : encoding.planes) {
    if (bits == 3) {
      add_threes(lines, below, codes);
    } else if (bits != 0) {
      add_plane(lines, bits, below, codes);
    }
    lines += bits * kLanes;
    below += bits;
  }
}

void lines_of_codes(const EncodingTraits& encoding, const GroupCodes& codes, uint8_t* lines) {
  int below = 0;
  for (const int bits : encoding.planes) {
    if (bits == 3) {
      put_threes(codes, below, lines);
    } else if (bits != 0) {
      put_plane(codes, bits, below, lines);
    }
    lines += bits * kLanes;
    below += bits;
  }
}

}  // namespace edge
