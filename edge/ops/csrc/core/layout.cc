#include "core/layout.h"

#include "core/deterministic_math.h"

namespace edge {

int64_t block_bytes_of(const TableForm& form, int64_t k_padded) {
  if (form.group_columns == 0) return code_bytes(*form.encoding, k_padded);
  const int64_t groups = group_count(k_padded, form.group_columns);
  const int64_t scale_lines = form.has_zeros ? groups : (groups + 1) / 2;
  return code_bytes(*form.encoding, k_padded) + scale_lines * kLineBytes;
}

const uint8_t* lines_at(const PackedView& view, int64_t block, int64_t column) {
  const TableForm& form = view.form;
  if (form.group_columns == 0) return view.block(block) + code_bytes(*form.encoding, column);
  const GroupPlace place = place_of_group(form, view.k_padded, column / form.group_columns);
  return view.block(block) + place.codes + code_bytes(*form.encoding, column % form.group_columns);
}

float float_of_scale(uint16_t bits, ScaleType type) {
  return type == ScaleType::kFloat16 ? float_of_half(bits) : float_from_bits(uint32_t{bits} << 16);
}

PackedView view_of(const PackedHeader& header, const TableForm& form, const uint8_t* data) {
  PackedView view{};
  view.form = form;
  view.n = header.n;
  view.k = header.k;
  view.n_padded = header.n_padded;
  view.k_padded = header.k_padded;
  view.codes = data + header.codes_offset;
  view.digest = header.digest;
  if (form.group_columns != 0) return view;
  view.row_scales = data + sizeof(PackedHeader);
  if (form.has_zeros) view.row_zeros = view.row_scales + view.n_padded * static_cast<int64_t>(sizeof(float));
  return view;
}

PackedHeader expected_header(int64_t n, int64_t k, const TableForm& form) {
  PackedHeader header{};
  header.magic = kMagic;
  header.version = kLayoutVersion;
  header.encoding_id = static_cast<uint16_t>(form.encoding->id);
  header.n = static_cast<uint32_t>(n);
  header.k = static_cast<uint32_t>(k);
  header.n_padded = static_cast<uint32_t>(round_up(n, kBlockRows));
  header.k_padded = static_cast<uint32_t>(padded_columns(k, *form.encoding));
  header.group_columns = static_cast<uint32_t>(form.group_columns);
  header.scale_type = form.scale_type;
  header.flags = form.has_zeros ? kHasZeros : 0;
  header.zero = form.has_zeros ? 0.0f : form.zero;
  const uint64_t arrays = form.group_columns != 0 ? 0 : form.has_zeros ? 2 : 1;
  header.codes_offset = sizeof(PackedHeader) + arrays * header.n_padded * sizeof(float);
  const int64_t blocks = header.n_padded / kBlockRows;
  header.total_bytes =
      header.codes_offset + static_cast<uint64_t>(blocks * block_bytes_of(form, header.k_padded));
  return header;
}

namespace {

bool check_identity(const PackedHeader& header, Error* error) {
  if (header.magic != kMagic) return error->fail("not a packed low-bit table (its magic is not 'LBW1')");
  if (header.version != kLayoutVersion) {
    return error->fail("packed table has layout version %d, this library reads %d; export again",
                       header.version, kLayoutVersion);
  }
  if (find_encoding(header.encoding_id) == nullptr) {
    return error->fail("packed table has encoding %d, which this library does not read; export again",
                       header.encoding_id);
  }
  return true;
}

bool is_group_size(uint32_t columns) {
  return columns == 0 || columns == 32 || columns == 64 || columns == 128 || columns == 256;
}

// The zero of a whole table must be a code or halfway between two; for halves it must be +0. The
// comparisons also reject NaN and -0.
bool is_zero_of_table(float zero, const EncodingTraits& encoding) {
  if (!encoding.is_quantized()) return bits_from_float(zero) == 0;
  return bits_from_float(zero) >> 31 == 0 && zero <= static_cast<float>(encoding.largest_code()) &&
         2 * zero == static_cast<float>(static_cast<int32_t>(2 * zero));
}

// Fills `form` from a header. Returns false if the header's fields contradict each other.
bool read_form(const PackedHeader& header, TableForm* form) {
  const EncodingTraits& encoding = *find_encoding(header.encoding_id);
  const bool grouped = header.group_columns != 0, has_zeros = header.flags & kHasZeros;
  *form = {&encoding, header.group_columns, header.scale_type, has_zeros, header.zero};
  if (!is_group_size(header.group_columns) || (grouped && !encoding.has_planes())) return false;
  if (grouped != (header.scale_type != ScaleType::kFloat32)) return false;
  if (grouped && header.scale_type != ScaleType::kFloat16 && header.scale_type != ScaleType::kBfloat16)
    return false;
  if (has_zeros) return encoding.is_quantized();
  return is_zero_of_table(header.zero, encoding);
}

// Returns true if all integers of a row fit int32, whatever the code bytes hold: sum(code * q),
// step * sum(code * q), offset * sum(q), and the sum of the last two.
bool accumulators_fit(const PackedView& view) {
  if (!view.form.encoding->is_quantized()) return true;
  const IntegerLevels levels = view.form.has_zeros ? IntegerLevels{1, 0} : integer_levels(view.form.zero);
  const int64_t terms = view.k_padded * kActivationMax;
  const int64_t code_max = (int64_t{1} << (view.is_base3() ? 2 : view.form.encoding->code_bits())) - 1;
  return levels.step * code_max * terms <= INT32_MAX && -int64_t{levels.offset} * terms <= INT32_MAX;
}

// Checks that the last row's scale is positive and those of the padding rows are zero, which also detects
// a wrong n. With groups, this looks only at the first group; unpacking in Python checks all of them.
bool check_last_block(const PackedView& view, Error* error) {
  if (!(scale_at(view, view.n - 1, 0) > 0.0f)) {
    return error->fail("packed table has no scale in its last row; it was altered");
  }
  for (int64_t row = view.n; row < view.n_padded; ++row) {
    if (bits_from_float(scale_at(view, row, 0)) != 0) {
      return error->fail("packed table has a scale in a padding row; it was altered");
    }
  }
  return true;
}

}  // namespace

bool open_packed(const uint8_t* data, int64_t bytes, int64_t n, int64_t k, PackedView* view, Error* error) {
  if (data == nullptr || bytes < static_cast<int64_t>(sizeof(PackedHeader))) {
    return error->fail("packed table is truncated: %lld bytes, its header alone has 64",
                       static_cast<long long>(bytes));
  }
  PackedHeader header;
  std::memcpy(&header, data, sizeof(header));
  if (!check_identity(header, error)) return false;
  if (n < 1 || n > kMaxRows || k < 1 || k > kMaxColumns || header.n != n || header.k != k) {
    return error->fail("packed table is [%u, %u], the op asks for [%lld, %lld]", header.n, header.k,
                       static_cast<long long>(n), static_cast<long long>(k));
  }
  TableForm form;
  const bool readable = read_form(header, &form);
  PackedHeader expected = expected_header(n, k, form);
  if (form.encoding->id == Encoding::kBase3) expected.digest = header.digest;
  if (!readable || std::memcmp(&header, &expected, sizeof(header)) != 0) {
    return error->fail("packed table has a damaged header for [%u, %u] %s", header.n, header.k,
                       form.encoding->name);
  }
  if (static_cast<uint64_t>(bytes) != expected.total_bytes) {
    return error->fail("packed table has %lld bytes, its header promises %llu", static_cast<long long>(bytes),
                       static_cast<unsigned long long>(expected.total_bytes));
  }
  *view = view_of(header, form, data);
  if (!accumulators_fit(*view)) {
    return error->fail("packed table of %lld columns could overflow 32-bit sums at zero %g",
                       static_cast<long long>(k), static_cast<double>(form.zero));
  }
  return check_last_block(*view, error);
}

bool open_table(const uint8_t* data, int64_t bytes, int64_t k, PackedView* view, Error* error) {
  PackedHeader header{};
  if (data != nullptr && bytes >= static_cast<int64_t>(sizeof(header))) {
    std::memcpy(&header, data, sizeof(header));
  }
  return open_packed(data, bytes, header.n, k, view, error);
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014): each input bit affects every output bit.
static uint64_t mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

uint64_t codes_digest(const uint8_t* codes, int64_t bytes) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < bytes / 8; ++i) {
    uint64_t word;
    std::memcpy(&word, codes + i * 8, sizeof(word));
    sum += mix(word + static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15u);
  }
  return sum;
}

static uint8_t read_trit(const uint8_t* block, int64_t lane0, int64_t column) {
  const int64_t inside = column % 20;
  uint8_t byte = block[column / 20 * kLineBytes + lane0 + inside % 4];
  uint8_t trit = next_trit(&byte);
  for (int64_t position = 0; position < inside / 4; ++position) trit = next_trit(&byte);
  return trit;
}

// A byte of the spare bits of a 3-bit group's three lines, in one lane; bits 0 and 1 are 0.
static int spare_byte(const uint8_t* lines, int64_t lane) {
  const int first = lines[lane], second = lines[kLineBytes + lane], third = lines[2 * kLineBytes + lane];
  return (first & 0xc0) | (second & 0xc0) >> 2 | (third & 0xc0) >> 4;
}

// The bits of column `inside` of a group in one plane of it.
static int read_plane(const uint8_t* plane, int bits, int64_t inside, int64_t lane) {
  const int64_t quad = inside / 4, per_line = 8 / bits;
  if (bits == 3 && quad >= 6) return spare_byte(plane, lane) >> (quad == 6 ? 2 : 5) & 7;
  return plane[quad / per_line * kLineBytes + lane] >> quad % per_line * bits & ((1 << bits) - 1);
}

// A code of `lines`, which begin at column 0 of a block or of a group.
static uint8_t read_planes(const EncodingTraits& encoding, const uint8_t* lines, int64_t lane0,
                           int64_t column) {
  const int64_t inside = column % encoding.group_columns, lane = lane0 + inside % 4;
  const uint8_t* plane = lines + column / encoding.group_columns * encoding.group_lines * kLineBytes;
  int code = 0, below = 0;
  for (const int bits : encoding.planes) {
    if (bits == 0) break;
    code |= read_plane(plane, bits, inside, lane) << below;
    below += bits;
    plane += bits * kLineBytes;
  }
  return static_cast<uint8_t>(code);
}

void read_row_codes(const PackedView& view, int64_t row, int64_t first, int64_t count, uint8_t* out) {
  const uint8_t* block = view.block(row / kBlockRows);
  const int64_t lane0 = row % kBlockRows * 4, group = view.form.group_columns;
  for (int64_t column = first; column < first + count; ++column) {
    if (view.is_base3()) {
      out[column - first] = read_trit(block, lane0, column);
      continue;
    }
    const uint8_t* lines =
        group == 0 ? block : block + place_of_group(view.form, view.k_padded, column / group).codes;
    out[column - first] =
        read_planes(*view.form.encoding, lines, lane0, group == 0 ? column : column % group);
  }
}

static float read_float(const uint8_t* floats, int64_t index) {
  float value;
  std::memcpy(&value, floats + index * static_cast<int64_t>(sizeof(value)), sizeof(value));
  return value;
}

static float read_16_bits(const PackedView& view, int64_t row, int64_t offset) {
  uint16_t bits;
  std::memcpy(&bits, view.block(row / kBlockRows) + offset + row % kBlockRows * 2, sizeof(bits));
  return float_of_scale(bits, view.form.scale_type);
}

float scale_at(const PackedView& view, int64_t row, int64_t column) {
  if (view.form.group_columns == 0) return read_float(view.row_scales, row);
  return read_16_bits(view, row,
                      place_of_group(view.form, view.k_padded, column / view.form.group_columns).scales);
}

float zero_at(const PackedView& view, int64_t row, int64_t column) {
  if (!view.form.has_zeros) return view.form.zero;
  if (view.form.group_columns == 0) return read_float(view.row_zeros, row);
  return read_16_bits(view, row,
                      place_of_group(view.form, view.k_padded, column / view.form.group_columns).zeros);
}

float read_half(const PackedView& view, int64_t row, int64_t column) {
  const int64_t lane = row % kBlockRows * 2 + column % 2;
  uint16_t half;
  std::memcpy(&half, view.block(row / kBlockRows) + column / 2 * kLineBytes + lane * 2, sizeof(half));
  return float_of_half(half);
}

}  // namespace edge
