// The packed layout of one weight table [n, k]: a contract between edge/ops/packing.py, which
// writes it, and the kernels here, which only read it. Little endian. The bytes do not depend on
// the CPU that packed them.
//
//   offset 0    PackedHeader, 64 bytes
//   offset 64   alpha: float32[n_padded], the positive scale of each row; 0 for padding rows
//   then        codes: n_padded / 16 blocks of 16 rows; zero where row >= n or column >= k
//
// A block walks k in 64-byte lines. A line has 64 lanes of one byte: lane r * 4 + j belongs to row
// r of the block and to column k0 + j, so that 32 bits are four consecutive codes of one row. With
// b code bits a byte holds 8 / b codes of its lane: bit position p (0 is lowest) holds column
// line * (32 / b) + 4 * p + j. So 32 columns, a "group", fill exactly b lines at 1, 2, 4, 8 bits.
// 3 bits: a group is two 2-bit lines (the low two bits of each code) and one 1-bit line (the top
// bits). fp16 (16 code bits, no codes): a line is 16 rows x 2 columns of IEEE half values, lane
// r * 2 + j, and alpha is 1.
// Ternary in files: a byte holds five codes of its lane, 1.6 bits each, so a line is a group of 20
// columns. With n = 81 t0 + 27 t1 + 9 t2 + 3 t3 + t4, the byte is ceil(n * 256 / 243), and t_p is
// column line * 20 + 4 * p + j. Three times the byte is t0 * 256 and a byte that holds the other four
// (next_trit below). `digest` identifies the codes, because kernels that are faster on 2-bit codes
// unpack a table once and find it again by its content (unpacked_ternary.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "core/formats.h"

namespace edge {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the packed layout is little endian");

inline constexpr uint32_t kMagic = 0x3157424C;  // the bytes "LBW1"
inline constexpr uint16_t kLayoutVersion = 1;
inline constexpr int64_t kBlockRows = 16;
inline constexpr int64_t kLineBytes = 64;
inline constexpr int64_t kGroupColumns = 32;
inline constexpr int64_t kColumnMultiple = 64;
inline constexpr int64_t kMaxRows = int64_t{1} << 24;
inline constexpr int64_t kMaxColumns = 65536;
inline constexpr int kActivationMax = 127;

struct PackedHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t format_id;
  uint32_t n;         // logical rows
  uint32_t k;         // logical columns
  uint32_t n_padded;  // n up to a multiple of 16
  uint32_t k_padded;  // k up to a multiple of 64; in files' ternary, of 20
  uint64_t alpha_offset;
  uint64_t codes_offset;
  uint64_t total_bytes;  // exactly the length of the table
  uint64_t digest;       // of the codes, where they are packed in base 3; else 0
  uint8_t reserved[8];   // zero
};
static_assert(sizeof(PackedHeader) == 64 && offsetof(PackedHeader, n) == 8 &&
              offsetof(PackedHeader, alpha_offset) == 24 && offsetof(PackedHeader, total_bytes) == 40);

// Every integer of a row must fit int32 at the largest k, whatever the code bytes hold:
// sum(code * q), step times it, offset * sum(q), and their sum, which is sum(level * q).
constexpr bool accumulators_fit(const WeightFormat& format) {
  if (!format.is_quantized()) return true;
  const int64_t terms = kMaxColumns * kActivationMax;
  const int64_t code_max = (int64_t{1} << format.code_bits) - 1;
  const int64_t offset = format.offset < 0 ? -format.offset : format.offset;
  const int64_t top = format.step * code_max + format.offset;
  const int64_t level_max = top > offset ? top : offset;
  return format.step > 0 && format.step * code_max * terms <= INT32_MAX && offset * terms <= INT32_MAX &&
         level_max * terms <= INT32_MAX;
}
constexpr bool all_accumulators_fit() {
  for (const WeightFormat& format : kFormats) {
    if (!accumulators_fit(format)) return false;
  }
  return true;
}
static_assert(all_accumulators_fit(), "a format overflows int32 at k = 65536");

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A table whose header was checked: pointers into the caller's bytes, which may be unaligned.
struct PackedView {
  const WeightFormat* format;
  int64_t n, k, n_padded, k_padded;
  const uint8_t* alpha_bytes;
  const uint8_t* codes;

  uint64_t digest;  // the header's: not checked against the codes

  int64_t blocks() const { return n_padded / kBlockRows; }
  int64_t block_bytes() const { return k_padded / format->group_columns * format->group_lines * kLineBytes; }
  int64_t codes_bytes() const { return blocks() * block_bytes(); }
  const uint8_t* block(int64_t index) const { return codes + index * block_bytes(); }
  float alpha(int64_t row) const {
    float value;
    std::memcpy(&value, alpha_bytes + row * sizeof(float), sizeof(float));
    return value;
  }
  // alpha * unit, rounded once: what a finished row is multiplied by.
  float row_scale(int64_t row) const { return alpha(row) * format->unit; }
};

// Columns stored: whole groups, and for all but base 3 whole pairs of them.
constexpr int64_t padded_columns(int64_t k, const WeightFormat& format) {
  return round_up(k, format.is_base3() ? format.group_columns : kColumnMultiple);
}

// The first trit of a base-3 byte; the byte becomes one that holds the trits behind it.
inline uint8_t next_trit(uint8_t* byte) {
  const uint32_t triple = 3u * *byte;
  *byte = static_cast<uint8_t>(triple);
  return static_cast<uint8_t>(triple >> 8);
}

// 64 bits that any change of the codes changes: the sum of one mixed number per 8 bytes and place.
uint64_t codes_digest(const uint8_t* codes, int64_t bytes);

// The header an [n, k] table of this format must have, with digest 0; n and k must be within the limits.
PackedHeader expected_header(int64_t n, int64_t k, const WeightFormat& format);

// Checks every header field, the size, and that the table is [n, k]; false and a sentence if not.
// After success no kernel reads outside data[0, bytes).
bool open_packed(const uint8_t* data, int64_t bytes, int64_t n, int64_t k, PackedView* view, Error* error);

// The same for a table whose number of rows only its own header says (an embedding).
bool open_table(const uint8_t* data, int64_t bytes, int64_t k, PackedView* view, Error* error);

// Reads columns first .. first + count of one row as unsigned codes (quantised formats).
void read_row_codes(const PackedView& view, int64_t row, int64_t first, int64_t count, uint8_t* out);

// Reads one value of an fp16 table.
float read_half(const PackedView& view, int64_t row, int64_t column);

}  // namespace edge
