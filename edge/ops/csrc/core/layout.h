// The packed layout, version 2, of one weight table [n, k]: a contract between edge/ops/packing.py, which
// writes it, and the kernels here, which only read it. Little endian; the bytes do not depend on the CPU.
//
//   weight = scale * (code - zero)
//
//   offset 0    PackedHeader, 64 bytes
//   offset 64   one scale per row: scale float32[n_padded], 0 in padding rows; then, where kHasZeros is set,
//               zero float32[n_padded]. Nothing stands here in tables with groups.
//   then        codes: n_padded / 16 blocks of 16 rows; zero where row >= n or column >= k
//
// Lines. A block walks its columns in 64-byte lines. A line has 64 lanes of one byte: lane r * 4 + j belongs
// to row r of the block and to column k0 + j, so 32 bits are four consecutive codes of one row. A plane of b
// bits (1, 2, 4 or 8) holds 8 / b codes of a lane in each byte: bit position p, 0 the lowest, holds column
// line * (32 / b) + 4 * p + j. So 32 columns fill exactly b lines. Widths of 5, 6 and 7 bits are stored as
// planes, the lowest bits first: 5 bits are four lines of 4 bits, then one line of 1 bit, and so on
// (core/encodings.inc). half: a line is 16 rows x 2 columns of IEEE half values, lane r * 2 + j; scale is 1.
//
// A plane of 3 bits: 32 columns fill three lines. A byte of line i holds column 8 * i + j in bits 0 to 2,
// column 8 * i + 4 + j in bits 3 to 5, and two spare bits above. The spare bits of the three lines make a
// byte (bits 7 and 6 from line 0, 5 and 4 from line 1, 3 and 2 from line 2) whose bits 2 to 4 are column 24 +
// j and whose bits 5 to 7 are column 28 + j. So six of eight codes need one mask, and the last two are joined
// by two insertions.
//
// base3: a byte holds five ternary codes of its lane, so a line is 20 columns. With
// n = 81 t0 + 27 t1 + 9 t2 + 3 t3 + t4 the byte is ceil(n * 256 / 243), and t_p is column line * 20 + 4 * p +
// j. Three times the byte is t0 * 256 plus a byte that holds the other four (next_trit below). `digest`
// identifies the codes: kernels that are faster on 2-bit codes unpack a table once and find it again by its
// content (core/unpacked_ternary.h).
//
// Groups. With `group_columns` 32, 64, 128 or 256 each row has one scale per group of columns, stored in 16
// bits (ScaleType). They stream with the codes: a line of scales precedes the codes of every two groups, 16
// rows of the first group and then 16 rows of the second; where kHasZeros is set, it precedes every group and
// holds 16 scales and then 16 zeros. The last group of a block ends with its columns and may be shorter; its
// partner may be missing. Scales are 0 in padding rows and padding groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/encoding.h"
#include "core/error.h"

namespace edge {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the packed layout is little endian");

inline constexpr uint32_t kMagic = 0x3157424C;  // the bytes "LBW1"
inline constexpr uint16_t kLayoutVersion = 2;
inline constexpr int64_t kBlockRows = 16;
inline constexpr int64_t kLineBytes = 64;
inline constexpr int64_t kColumnMultiple = 64;
inline constexpr int64_t kMaxRows = int64_t{1} << 24;
inline constexpr int64_t kMaxColumns = 65536;
inline constexpr int64_t kMaxGroupColumns = 256;
inline constexpr int kActivationMax = 127;

enum class ScaleType : uint16_t { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

inline constexpr uint16_t kHasZeros = 1;  // flag: every scale has a zero of its own

struct PackedHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t encoding_id;
  uint32_t n;              // logical rows
  uint32_t k;              // logical columns
  uint32_t n_padded;       // n up to a multiple of 16
  uint32_t k_padded;       // k up to a multiple of 64; base3: of 20
  uint32_t group_columns;  // columns that share a scale; 0: one scale per row
  ScaleType scale_type;    // kFloat32 exactly where there are no groups
  uint16_t flags;          // kHasZeros
  float zero;              // without kHasZeros: the zero of the whole table, a multiple of 1/2; else 0
  uint32_t reserved;       // 0
  uint64_t codes_offset;
  uint64_t total_bytes;  // exactly the length of the table
  uint64_t digest;       // base3: of the codes; else 0
};
static_assert(sizeof(PackedHeader) == 64 && offsetof(PackedHeader, n) == 8 &&
              offsetof(PackedHeader, zero) == 32 && offsetof(PackedHeader, codes_offset) == 40);

static constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The form of a table apart from its shape.
struct TableForm {
  const EncodingTraits* encoding;
  int64_t group_columns;  // 0: one scale per row
  ScaleType scale_type;
  bool has_zeros;
  float zero;  // of the whole table, where has_zeros is false
};

// Bytes of a block of 16 rows, its lines of scales and zeros included.
int64_t block_bytes_of(const TableForm& form, int64_t k_padded);

// A table whose header was checked: pointers into the caller's bytes, which may be unaligned.
struct PackedView {
  TableForm form;
  int64_t n, k, n_padded, k_padded;
  const uint8_t* row_scales;  // float32[n_padded]; null with groups
  const uint8_t* row_zeros;   // float32[n_padded]; null without zeros and with groups
  const uint8_t* codes;
  uint64_t digest;  // the header's: not checked against the codes

  bool is_base3() const { return form.encoding->id == Encoding::kBase3; }
  int64_t blocks() const { return n_padded / kBlockRows; }
  int64_t block_bytes() const { return block_bytes_of(form, k_padded); }
  int64_t codes_bytes() const { return blocks() * block_bytes(); }
  const uint8_t* block(int64_t index) const { return codes + index * block_bytes(); }
};

// level = step * code + offset is an integer for every zero of a whole table: (code - zero) * step, where
// step is 2 if the zero lies between two codes, else 1.
struct IntegerLevels {
  int32_t step, offset;
};

static constexpr IntegerLevels integer_levels(float zero) {
  const auto twice = static_cast<int32_t>(2 * zero);
  return twice % 2 == 0 ? IntegerLevels{1, -twice / 2} : IntegerLevels{2, -twice};
}

// Byte offsets of a group's scales, zeros and codes in a block with groups.
struct GroupPlace {
  int64_t scales, zeros, codes;  // bytes from the start of the block; zeros only with kHasZeros
  int64_t columns;               // of the group, up to k_padded
};

static inline int64_t code_bytes(const EncodingTraits& encoding, int64_t columns) {
  return columns / encoding.group_columns * encoding.group_lines * kLineBytes;
}

static inline int64_t group_count(int64_t k_padded, int64_t group_columns) {
  return (k_padded + group_columns - 1) / group_columns;
}

// `bytes` are those of a group's codes.
static inline GroupPlace place_of_group(const TableForm& form, int64_t k_padded, int64_t group,
                                        int64_t bytes) {
  const int64_t left = k_padded - group * form.group_columns;
  const int64_t columns = left < form.group_columns ? left : form.group_columns;
  if (form.has_zeros) {
    const int64_t line = group * (kLineBytes + bytes);
    return {line, line + kLineBytes / 2, line + kLineBytes, columns};
  }
  const int64_t line = (group >> 1) * (kLineBytes + 2 * bytes), second = group & 1;
  return {line + second * (kLineBytes / 2), 0, line + kLineBytes + second * bytes, columns};
}

static inline GroupPlace place_of_group(const TableForm& form, int64_t k_padded, int64_t group) {
  return place_of_group(form, k_padded, group, code_bytes(*form.encoding, form.group_columns));
}

// Returns k rounded up to the columns that are stored: a multiple of 20 for base 3, else of 64.
static constexpr int64_t padded_columns(int64_t k, const EncodingTraits& encoding) {
  return round_up(k, encoding.id == Encoding::kBase3 ? encoding.group_columns : kColumnMultiple);
}

// Takes the first trit off a base-3 byte; the byte then holds the trits behind it.
static inline uint8_t next_trit(uint8_t* byte) {
  const uint32_t triple = 3u * *byte;
  *byte = static_cast<uint8_t>(triple);
  return static_cast<uint8_t>(triple >> 8);
}

// The lines of the columns from `column` on, which begins a group of the encoding's columns.
const uint8_t* lines_at(const PackedView& view, int64_t block, int64_t column);

// A value of 16 bits as a float; exact.
float float_of_scale(uint16_t bits, ScaleType type);

// Hashes codes to 64 bits: mixes every 8 bytes with their index and adds up the results.
uint64_t codes_digest(const uint8_t* codes, int64_t bytes);

// The header that an [n, k] table of this form must have, with digest 0; n and k must be within the limits.
PackedHeader expected_header(int64_t n, int64_t k, const TableForm& form);

// Checks every header field, the size, and that the table is [n, k]; false and a sentence if not.
// After success no kernel reads outside data[0, bytes).
bool open_packed(const uint8_t* data, int64_t bytes, int64_t n, int64_t k, PackedView* view, Error* error);

// The same for an embedding table, whose number of rows is taken from its header.
bool open_table(const uint8_t* data, int64_t bytes, int64_t k, PackedView* view, Error* error);

// Returns the view of the table at `data` without reading the header there: `header` stands for it, and must
// be the one that expected_header returns, apart from the digest.
PackedView view_of(const PackedHeader& header, const TableForm& form, const uint8_t* data);

// Reads columns first .. first + count of one row as unsigned codes (quantised encodings).
void read_row_codes(const PackedView& view, int64_t row, int64_t first, int64_t count, uint8_t* out);

// Scale and zero of one row and column.
float scale_at(const PackedView& view, int64_t row, int64_t column);
float zero_at(const PackedView& view, int64_t row, int64_t column);

// Reads one value of a table of halves.
float read_half(const PackedView& view, int64_t row, int64_t column);

}  // namespace edge
