#include "core/elastic.h"

#include <cmath>
#include <map>
#include <mutex>
#include <utility>

#include "core/file_pages.h"
#include "core/planes.h"
#include "core/table_memory.h"

namespace edge {
namespace {

// A slice that has not been used for this many look-ups belongs to a model that is no longer running: the
// largest models look up about 250 a token.
constexpr uint64_t kIdleLookups = 20000;

struct Slice {
  PackedView view;  // into `memory`, where codes are followed by scales and zeros of rows
  TableMemory memory;
  uint8_t first_lines[2][kLineBytes];  // of the base: its header, and its codes
  uint64_t last_used;
};

// Never destroyed: worker threads may outlive main.
struct Slices {
  std::mutex mutex;
  std::map<std::pair<const uint8_t*, int>, Slice> by_base;  // and by bits
  uint64_t lookups = 0;
};

Slices& slices() {
  static Slices* const instance = new Slices;
  return *instance;
}

const EncodingTraits& encoding_of(int bits) {
  for (const EncodingTraits& encoding : kEncodings) {
    if (encoding.has_planes() && encoding.code_bits() == bits) return encoding;
  }
  return traits_of(Encoding::kBits8);
}

bool open_base(const ElasticBytes& weight, PackedView* base, Error* error) {
  if (!open_packed(weight.base.data, weight.base.bytes, weight.n, weight.k, base, error)) return false;
  if (base->form.encoding->id == Encoding::kBits2 && base->form.has_zeros) return true;
  return error->fail("the base of an elastic weight must be 2 bits with zeros of its own");
}

bool open_rest(const PackedBytes& rest, Encoding encoding, const ElasticBytes& weight, PackedView* view,
               Error* error) {
  if (!open_packed(rest.data, rest.bytes, weight.n, weight.k, view, error)) return false;
  if (view->form.encoding->id == encoding && view->form.group_columns == 0) return true;
  return error->fail("a table of an elastic weight is %s, not %s without groups", view->form.encoding->name,
                     traits_of(encoding).name);
}

struct Parts {
  PackedView base, middle, low;  // `low` is not read for slices of up to 4 bits
};

// Codes of the parent for 32 columns; their lowest 3 bits are 0 without `low`.
void parent_codes(const Parts& parts, bool low, int64_t block, int64_t column, GroupCodes* codes) {
  GroupCodes base, middle, rest{};
  codes_of_lines(*parts.base.form.encoding, lines_at(parts.base, block, column), &base);
  codes_of_lines(*parts.middle.form.encoding, lines_at(parts.middle, block, column), &middle);
  if (low) codes_of_lines(*parts.low.form.encoding, lines_at(parts.low, block, column), &rest);
  for (int quad = 0; quad < kQuads; ++quad) {
    for (int lane = 0; lane < kLineBytes; ++lane) {
      const int top = base.quads[quad][lane], bits3_to_6 = middle.quads[quad][lane];
      const int bit7 = top >= ((bits3_to_6 & 0xc) == 0xc ? 3 : 2);
      codes->quads[quad][lane] = static_cast<uint8_t>(bit7 << 7 | bits3_to_6 << 3 | rest.quads[quad][lane]);
    }
  }
}

void slice_codes(int bits, GroupCodes* codes) {
  const int shift = kParentBits - bits, half = 1 << shift >> 1, largest = (1 << bits) - 1;
  for (auto& quad : codes->quads) {
    for (uint8_t& code : quad) {
      const int rounded = (code + half) >> shift;
      code = static_cast<uint8_t>(rounded < largest ? rounded : largest);
    }
  }
}

// Multiplies a value of 16 bits by 2^power. Returns false where that is not exact.
bool scale_16_bits(int power, ScaleType type, uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  const int mantissa = type == ScaleType::kFloat16 ? 10 : 7, largest = type == ScaleType::kFloat16 ? 31 : 255;
  const int exponent = bits >> mantissa & largest;
  if ((bits & 0x7fff) == 0) return true;
  if (exponent == 0 || exponent + power < 1 || exponent + power >= largest) return false;
  bits = static_cast<uint16_t>(bits + power * (1 << mantissa));
  std::memcpy(at, &bits, sizeof(bits));
  return true;
}

// Copies scales and zeros of a block's groups, for a slice of kBaseBits + power bits.
bool write_groups(const PackedView& base, int64_t block, int power, const PackedView& slice, uint8_t* out) {
  for (int64_t group = 0; group < group_count(base.k_padded, base.form.group_columns); ++group) {
    const GroupPlace from = place_of_group(base.form, base.k_padded, group);
    const GroupPlace to = place_of_group(slice.form, slice.k_padded, group);
    std::memcpy(out + to.scales, base.block(block) + from.scales, kLineBytes);
    for (int64_t row = 0; row < kBlockRows; ++row) {
      if (!scale_16_bits(-power, base.form.scale_type, out + to.scales + row * 2)) return false;
      if (!scale_16_bits(power, base.form.scale_type, out + to.zeros + row * 2)) return false;
    }
  }
  return true;
}

void write_rows(const PackedView& base, int power, float* scales) {
  for (int64_t row = 0; row < base.n_padded; ++row) {
    scales[row] = std::ldexp(scale_at(base, row, 0), -power);
    scales[base.n_padded + row] = std::ldexp(zero_at(base, row, 0), power);
  }
}

bool write_slice(const Parts& parts, int bits, const PackedView& slice, uint8_t* codes, Error* error) {
  const int power = bits - kBaseBits;
  const bool grouped = slice.form.group_columns != 0;
  if (!grouped) write_rows(parts.base, power, reinterpret_cast<float*>(codes + slice.codes_bytes()));
  for (int64_t block = 0; block < slice.blocks(); ++block) {
    uint8_t* const out = codes + block * slice.block_bytes();
    if (grouped && !write_groups(parts.base, block, power, slice, out)) {
      return error->fail("scales of an elastic weight are too small or too large for a slice of %d bits",
                         bits);
    }
    for (int64_t column = 0; column < slice.k_padded; column += slice.form.encoding->group_columns) {
      GroupCodes group;
      parent_codes(parts, bits > 4, block, column, &group);
      slice_codes(bits, &group);
      const int64_t place = lines_at(slice, block, column) - slice.codes;
      lines_of_codes(*slice.form.encoding, group, codes + place);
    }
  }
  return true;
}

bool make_slice(const ElasticBytes& weight, const PackedView& base, int bits, Slice* slice, Error* error) {
  Parts parts{base, {}, {}};
  if (!open_rest(weight.middle, Encoding::kBits4, weight, &parts.middle, error)) return false;
  if (bits > 4 && !open_rest(weight.low, Encoding::kBits3, weight, &parts.low, error)) return false;
  PackedView& view = slice->view;
  view = base;
  view.form.encoding = &encoding_of(bits);
  const int64_t row_bytes = base.n_padded * static_cast<int64_t>(sizeof(float));
  slice->memory = allocate_table(view.codes_bytes() + 2 * row_bytes, error);
  if (slice->memory == nullptr) return false;
  view.codes = slice->memory.get();
  if (view.form.group_columns == 0) {
    view.row_scales = view.codes + view.codes_bytes();
    view.row_zeros = view.row_scales + row_bytes;
  }
  if (!write_slice(parts, bits, view, slice->memory.get(), error)) return false;
  std::memcpy(slice->first_lines[0], weight.base.data, kLineBytes);
  std::memcpy(slice->first_lines[1], base.codes, kLineBytes);
  // The first line stays, because every look-up reads it.
  release_file_pages(base.codes + kLineBytes, base.codes_bytes() - kLineBytes);
  release_file_pages(weight.middle.data, weight.middle.bytes);
  if (bits > 4) release_file_pages(weight.low.data, weight.low.bytes);
  return true;
}

bool is_of(const Slice& slice, const ElasticBytes& weight, const PackedView& base) {
  return std::memcmp(slice.first_lines[0], weight.base.data, kLineBytes) == 0 &&
         std::memcmp(slice.first_lines[1], base.codes, kLineBytes) == 0;
}

void drop_idle(Slices& all) {
  for (auto it = all.by_base.begin(); it != all.by_base.end();) {
    it = all.lookups - it->second.last_used > kIdleLookups ? all.by_base.erase(it) : std::next(it);
  }
}

}  // namespace

bool runnable_slice(const ElasticBytes& weight, int bits, RunnableTable* runnable, Error* error) {
  if (bits < kBaseBits || bits > kParentBits) {
    return error->fail("an elastic weight has slices of %d to %d bits, not %d", kBaseBits, kParentBits, bits);
  }
  PackedView base;
  if (!open_base(weight, &base, error)) return false;
  if (bits == kBaseBits) {
    *runnable = {base, nullptr};
    return true;
  }
  Slices& all = slices();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto key = std::make_pair(weight.base.data, bits);
  auto found = all.by_base.find(key);
  if (found == all.by_base.end() || !is_of(found->second, weight, base)) {
    all.by_base.erase(key);
    drop_idle(all);
    Slice slice{};
    if (!make_slice(weight, base, bits, &slice, error)) return false;
    found = all.by_base.emplace(key, std::move(slice)).first;
  }
  found->second.last_used = ++all.lookups;
  *runnable = {found->second.view, found->second.memory};
  return true;
}

void forget_slices() {
  Slices& all = slices();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.by_base.clear();
}

}  // namespace edge
