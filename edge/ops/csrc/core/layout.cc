#include "core/layout.h"

#include "core/deterministic_math.h"

namespace edge {

PackedHeader expected_header(int64_t n, int64_t k, const WeightFormat& format) {
  PackedHeader header{};
  header.magic = kMagic;
  header.version = kLayoutVersion;
  header.format_id = format.id;
  header.n = static_cast<uint32_t>(n);
  header.k = static_cast<uint32_t>(k);
  header.n_padded = static_cast<uint32_t>(round_up(n, kBlockRows));
  header.k_padded = static_cast<uint32_t>(padded_columns(k, format));
  header.alpha_offset = sizeof(PackedHeader);
  header.codes_offset = header.alpha_offset + uint64_t{header.n_padded} * sizeof(float);
  header.total_bytes = header.codes_offset + (header.n_padded / static_cast<uint64_t>(kBlockRows)) *
                                                 (header.k_padded / format.group_columns) *
                                                 format.group_lines * kLineBytes;
  return header;
}

namespace {

bool check_identity(const PackedHeader& header, Error* error) {
  if (header.magic != kMagic) return error->fail("not a packed low-bit table (its magic is not 'LBW1')");
  if (header.version != kLayoutVersion) {
    return error->fail("packed table has layout version %d, this library reads %d; export again",
                       header.version, kLayoutVersion);
  }
  if (find_format(header.format_id) == nullptr) {
    return error->fail("packed table has unknown weight format %d", header.format_id);
  }
  return true;
}

// Scales are positive in rows and zero in padding, which also ties n to the table.
bool check_last_block(const PackedView& view, Error* error) {
  if (!(view.alpha(view.n - 1) > 0.0f)) {
    return error->fail("packed table has no scale in its last row; it was altered");
  }
  for (int64_t row = view.n; row < view.n_padded; ++row) {
    uint32_t bits;
    std::memcpy(&bits, view.alpha_bytes + row * sizeof(float), sizeof(bits));
    if (bits != 0) return error->fail("packed table has a scale in a padding row; it was altered");
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
  const WeightFormat& format = *find_format(header.format_id);
  PackedHeader expected = expected_header(n, k, format);
  if (format.is_base3()) expected.digest = header.digest;
  if (std::memcmp(&header, &expected, sizeof(header)) != 0) {
    return error->fail("packed table has a damaged header for [%u, %u] %s", header.n, header.k, format.name);
  }
  if (static_cast<uint64_t>(bytes) != expected.total_bytes) {
    return error->fail("packed table has %lld bytes, its header promises %llu", static_cast<long long>(bytes),
                       static_cast<unsigned long long>(expected.total_bytes));
  }
  *view = PackedView{&format,
                     n,
                     k,
                     expected.n_padded,
                     expected.k_padded,
                     data + expected.alpha_offset,
                     data + expected.codes_offset,
                     expected.digest};
  return check_last_block(*view, error);
}

bool open_table(const uint8_t* data, int64_t bytes, int64_t k, PackedView* view, Error* error) {
  PackedHeader header{};
  if (data != nullptr && bytes >= static_cast<int64_t>(sizeof(header))) {
    std::memcpy(&header, data, sizeof(header));
  }
  return open_packed(data, bytes, header.n, k, view, error);
}

// The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit.
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

static void read_row_trits(const PackedView& view, int64_t row, int64_t first, int64_t count, uint8_t* out) {
  const uint8_t* lanes = view.block(row / kBlockRows) + row % kBlockRows * 4;
  for (int64_t column = first; column < first + count; ++column) {
    const int64_t inside = column % 20;
    uint8_t byte = lanes[column / 20 * kLineBytes + inside % 4];
    uint8_t trit = next_trit(&byte);
    for (int64_t position = 0; position < inside / 4; ++position) trit = next_trit(&byte);
    out[column - first] = trit;
  }
}

void read_row_codes(const PackedView& view, int64_t row, int64_t first, int64_t count, uint8_t* out) {
  if (view.format->is_base3()) return read_row_trits(view, row, first, count, out);
  const int bits = view.format->code_bits;
  const uint8_t* block = view.block(row / kBlockRows);
  const int64_t lane0 = row % kBlockRows * 4;
  const int low_bits = bits == 3 ? 2 : bits;
  const int64_t columns_per_line = kGroupColumns / low_bits;
  for (int64_t column = first; column < first + count; ++column) {
    const uint8_t* group = block + column / kGroupColumns * bits * kLineBytes;
    const int64_t inside = column % kGroupColumns;
    const int64_t lane = lane0 + inside % 4;
    const int64_t line = inside / columns_per_line;
    const int shift = static_cast<int>(inside % columns_per_line / 4) * low_bits;
    int code = group[line * kLineBytes + lane] >> shift & ((1 << low_bits) - 1);
    if (bits == 3) code |= (group[2 * kLineBytes + lane] >> (inside / 4) & 1) << 2;
    out[column - first] = static_cast<uint8_t>(code);
  }
}

float read_half(const PackedView& view, int64_t row, int64_t column) {
  const int64_t lane = row % kBlockRows * 2 + column % 2;
  uint16_t half;
  std::memcpy(&half, view.block(row / kBlockRows) + column / 2 * kLineBytes + lane * 2, sizeof(half));
  return float_of_half(half);
}

}  // namespace edge
