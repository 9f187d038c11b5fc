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
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "error.h"
#include "formats.h"

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
  uint32_t k_padded;  // k up to a multiple of 64
  uint64_t alpha_offset;
  uint64_t codes_offset;
  uint64_t total_bytes;  // exactly the length of the table
  uint8_t reserved[16];  // zero
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

  int64_t blocks() const { return n_padded / kBlockRows; }
  int64_t block_bytes() const { return kBlockRows * k_padded * format->code_bits / 8; }
  const uint8_t* block(int64_t index) const { return codes + index * block_bytes(); }
  float alpha(int64_t row) const {
    float value;
    std::memcpy(&value, alpha_bytes + row * sizeof(float), sizeof(float));
    return value;
  }
  // alpha * unit, rounded once: what a finished row is multiplied by.
  float row_scale(int64_t row) const { return alpha(row) * format->unit; }
};

// The header an [n, k] table of this format must have; n and k must be within the limits.
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

// The bits of an IEEE half as the bits of the same float, exact, without branches. Subnormal halves go
// through an integer conversion and never appear as subnormal floats, which a process may have told the
// CPU to treat as zero.
inline uint32_t half_to_float_bits(uint32_t half) {
  const uint32_t magnitude = half & 0x7fff;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  uint32_t bits;
  std::memcpy(&bits, &subnormal, sizeof(bits));
  const uint32_t is_special = magnitude >= 0x7c00;  // inf and NaN: the exponent becomes all ones
  const uint32_t normal = (magnitude << 13) + (112u << 23) + is_special * (112u << 23);
  const uint32_t choose = 0u - static_cast<uint32_t>(magnitude < 0x400);
  return (half & 0x8000) << 16 | (bits & choose) | (normal & ~choose);
}

}  // namespace edge
