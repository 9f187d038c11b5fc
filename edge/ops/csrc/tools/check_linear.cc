// lowbit::linear of one kernel against the scalar kernel.
#include <cinttypes>
#include <cstdio>

#include "core/linear.h"
#include "tools/checks.h"
#include "tools/random.h"

namespace edge {
namespace {

// The bytes to fill a table with. Base 3 uses only 243 values, and a half must be finite.
enum class Fill { kRandom, kLargest };

struct Case {
  TableForm form;
  int64_t n, k, tokens;
  Fill fill;
  bool gate_up, norm, residual;
  bool extreme;  // activations that quantise to +-127
};

std::string describe(const Case& c) {
  char text[250];
  std::snprintf(
      text, sizeof(text),
      "linear %s [%" PRId64 ", %" PRId64 "], groups of %" PRId64 "%s%s, %" PRId64 " tokens%s%s%s%s%s",
      c.form.encoding->name, c.n, c.k, c.form.group_columns,
      c.form.scale_type == ScaleType::kBfloat16 ? " (bfloat16)" : "", c.form.has_zeros ? ", zeros" : "",
      c.tokens, c.gate_up ? ", gate_up" : "", c.norm ? ", norm" : "", c.residual ? ", residual" : "",
      c.fill == Fill::kLargest ? ", largest codes" : "", c.extreme ? ", activations at +-127" : "");
  return text;
}

uint8_t code_byte(const Case& c, Random* random) {
  if (c.form.encoding->id == Encoding::kBase3) {
    const int64_t number = c.fill == Fill::kLargest ? 242 : random->between(0, 242);
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  }
  return static_cast<uint8_t>(c.fill == Fill::kLargest ? 0xff : random->bits());
}

// A table in memory of exactly its size at an address of any alignment. Codes of padding are random too,
// because they must not affect any kernel's result.
struct Table {
  std::vector<uint8_t> bytes;
  PackedView view;

  Table(const Case& c, Random* random) {
    const PackedHeader header = expected_header(c.n, c.k, c.form);
    const int64_t skew = random->between(0, 63);
    bytes.resize(static_cast<size_t>(skew) + header.total_bytes - sizeof(header));
    uint8_t* const first = bytes.data() + skew;  // what follows the header
    view = view_of(header, c.form, first - sizeof(header));
    const auto arrays = static_cast<int64_t>(header.codes_offset - sizeof(header));
    uint8_t* const codes = first + arrays;
    for (int64_t i = 0; i < view.codes_bytes(); ++i) codes[i] = code_byte(c, random);
    if (!c.form.encoding->is_quantized()) make_finite(codes, view.codes_bytes());
    if (c.form.group_columns == 0) {
      fill_rows(c, first, random);
    } else {
      fill_groups(c, codes, random);
    }
  }

  static float scale(const Case& c, Random* random) {
    return c.form.encoding->is_quantized() ? 0.001f + random->value() * random->value() : 1.0f;
  }

  static float zero(const Case& c, Random* random) {
    return random->value() * static_cast<float>(c.form.encoding->codes);
  }

  static void fill_rows(const Case& c, uint8_t* arrays, Random* random) {
    const int64_t padded = round_up(c.n, kBlockRows);
    for (int64_t row = 0; row < c.n; ++row) {
      const float values[2] = {scale(c, random), zero(c, random)};
      std::memcpy(arrays + row * 4, &values[0], sizeof(float));
      if (c.form.has_zeros) std::memcpy(arrays + (padded + row) * 4, &values[1], sizeof(float));
    }
  }

  // 16 bits of scales and zeros: bfloat16 is the upper half of a float, a half below 1 is made of random
  // bits.
  static uint16_t bits(const Case& c, float value, Random* random) {
    uint32_t word;
    std::memcpy(&word, &value, sizeof(word));
    if (c.form.scale_type == ScaleType::kBfloat16) return static_cast<uint16_t>(word >> 16);
    return static_cast<uint16_t>(random->between(1, 0x3bff));  // positive, subnormal halves included
  }

  void fill_groups(const Case& c, uint8_t* codes, Random* random) const {
    for (int64_t block = 0; block < view.blocks(); ++block) {
      for (int64_t group = 0; group < group_count(view.k_padded, c.form.group_columns); ++group) {
        const GroupPlace place = place_of_group(c.form, view.k_padded, group);
        uint8_t* const at = codes + block * view.block_bytes();
        for (int64_t row = 0; row < kBlockRows; ++row) {
          const uint16_t values[2] = {bits(c, scale(c, random), random), bits(c, zero(c, random), random)};
          std::memcpy(at + place.scales + row * 2, &values[0], 2);
          if (c.form.has_zeros) std::memcpy(at + place.zeros + row * 2, &values[1], 2);
        }
      }
    }
  }

  static void make_finite(uint8_t* halves, int64_t size) {
    for (int64_t i = 1; i < size; i += 2) {
      if ((halves[i] & 0x7c) == 0x7c) halves[i] = static_cast<uint8_t>(halves[i] & ~0x04);
    }
  }
};

std::vector<float> activations(const Case& c, Random* random) {
  std::vector<float> x = random->values(c.tokens * c.k, 4.0f);
  if (!c.extreme) return x;
  // Rows of +1, rows of -1, and rows of both.
  for (int64_t i = 0; i < c.tokens * c.k; ++i) {
    const int64_t kind = i / c.k % 3;
    x[static_cast<size_t>(i)] = kind == 0 ? 1.0f : kind == 1 ? -1.0f : random->chance(50) ? 1.0f : -1.0f;
  }
  return x;
}

bool check_case(const Case& c, const Kernel& kernel, Random* random, Tally* tally) {
  const Table table(c, random);
  const std::vector<float> x = activations(c, random);
  const int64_t rows = c.gate_up ? c.n / 2 : c.n;
  const std::vector<float> norm = random->values(c.k), residual = random->values(c.tokens * rows);
  LinearFusion fusion;
  fusion.norm_weight = c.norm ? norm.data() : nullptr;
  fusion.eps = 1e-5f;
  fusion.residual = c.residual ? residual.data() : nullptr;
  fusion.gate_up = c.gate_up;
  std::vector<char> scratch(static_cast<size_t>(linear_scratch_bytes(c.tokens, table.view, fusion)));
  std::vector<float> want(residual.size()), got(residual.size());
  Error error;
  if (!linear(x.data(), c.tokens, table.view, fusion, kScalar, serial(), scratch.data(), want.data(),
              &error) ||
      !linear(x.data(), c.tokens, table.view, fusion, kernel, serial(), scratch.data(), got.data(), &error)) {
    std::printf("%s: %s: %s\n", kernel.name, describe(c).c_str(), error.message);
    return false;
  }
  return tally->same(kernel, describe(c), want, got);
}

// Returns a number of columns. Over many calls, full tiles, partial tiles and odd sizes all occur.
int64_t random_columns(Random* random) {
  if (random->chance(10)) return random->between(1200, 2700);
  if (random->chance(20)) return random->between(1, 12) * 64;
  return random->between(1, 700);
}

// One zero for the table, or one for each scale; one scale a row, or one for each group of columns.
TableForm random_form(const EncodingTraits& encoding, Random* random) {
  TableForm form{&encoding, 0, ScaleType::kFloat32, false, 0.0f};
  if (!encoding.is_quantized()) return form;
  form.has_zeros = random->chance(30);
  if (!form.has_zeros) {
    const int64_t halves = encoding.id == Encoding::kBits8 ? 1 : 2;  // a step of 2 overflows at 8 bits
    form.zero =
        static_cast<float>(random->between(0, halves * encoding.largest_code())) / static_cast<float>(halves);
  }
  if (encoding.has_planes() && random->chance(50)) {
    form.group_columns = int64_t{32} << random->between(0, 3);
    form.scale_type = random->chance(50) ? ScaleType::kFloat16 : ScaleType::kBfloat16;
  }
  return form;
}

Case random_case(const EncodingTraits& encoding, Random* random) {
  Case c{};
  c.form = random_form(encoding, random);
  c.gate_up = random->chance(25);
  c.n = c.gate_up ? random->between(1, 2) * 32 : random->between(1, 50);
  c.k = random_columns(random);
  c.tokens = random->chance(40) ? 1 : random->between(2, 70);
  c.fill = random->chance(10) ? Fill::kLargest : Fill::kRandom;
  c.norm = random->chance(25);
  c.residual = !c.gate_up && random->chance(25);
  c.extreme = random->chance(15);
  return c;
}

bool runs(const Kernel& kernel, const EncodingTraits& encoding) {
  return encoding.id != Encoding::kBase3 || kernel.runs_base3;
}

}  // namespace

bool check_linear(const Kernel& kernel, Random* random, Tally* tally) {
  for (const EncodingTraits& encoding : kEncodings) {
    if (!runs(kernel, encoding)) continue;
    if (!check_case(random_case(encoding, random), kernel, random, tally)) return false;
  }
  return true;
}

bool check_linear_extremes(const Kernel& kernel, Random* random, Tally* tally) {
  for (const EncodingTraits& encoding : kEncodings) {
    if (!runs(kernel, encoding)) continue;
    // A zero between two codes doubles the sums, and int32 must still hold them (not at 8 bits).
    const float middle = encoding.codes == 256 ? 128.0f : static_cast<float>(encoding.largest_code()) / 2;
    const float zero = encoding.is_quantized() ? middle : 0.0f;
    const TableForm form{&encoding, 0, ScaleType::kFloat32, false, zero};
    for (const int64_t tokens : {1, 7}) {
      const Case c{form, 17, kMaxColumns, tokens, Fill::kLargest, false, false, false, true};
      if (!check_case(c, kernel, random, tally)) return false;
    }
  }
  return true;
}

}  // namespace edge
