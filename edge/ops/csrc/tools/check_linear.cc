// lowbit::linear of one kernel against the scalar kernel.
#include <cinttypes>
#include <cstdio>

#include "core/linear.h"
#include "tools/checks.h"
#include "tools/random.h"

namespace edge {
namespace {

// What a byte of codes may hold: base 3 has 243 values, a half must be finite.
enum class Fill { kRandom, kLargest };

struct Case {
  const WeightFormat* format;
  int64_t n, k, tokens;
  Fill fill;
  bool gate_up, norm, residual;
  bool extreme;  // activations that quantise to +-127
};

std::string describe(const Case& c) {
  char text[200];
  std::snprintf(text, sizeof(text), "linear %s [%" PRId64 ", %" PRId64 "], %" PRId64 " tokens%s%s%s%s%s",
                c.format->name, c.n, c.k, c.tokens, c.gate_up ? ", gate_up" : "", c.norm ? ", norm" : "",
                c.residual ? ", residual" : "", c.fill == Fill::kLargest ? ", largest codes" : "",
                c.extreme ? ", activations at +-127" : "");
  return text;
}

uint8_t code_byte(const Case& c, Random* random) {
  if (c.format->is_base3()) {
    const int64_t number = c.fill == Fill::kLargest ? 242 : random->between(0, 242);
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  }
  return static_cast<uint8_t>(c.fill == Fill::kLargest ? 0xff : random->bits());
}

// A table in memory of exactly its size at an address of any alignment. Codes of padding are random too:
// no kernel may let them count.
struct Table {
  std::vector<uint8_t> bytes;
  PackedView view;

  Table(const Case& c, Random* random) {
    const PackedHeader header = expected_header(c.n, c.k, *c.format);
    const int64_t skew = random->between(0, 63);
    const int64_t alpha_bytes = int64_t{header.n_padded} * 4;
    const auto codes_bytes = static_cast<int64_t>(header.total_bytes - header.codes_offset);
    bytes.resize(static_cast<size_t>(skew + alpha_bytes + codes_bytes));
    uint8_t* const alphas = bytes.data() + skew;
    uint8_t* const codes = alphas + alpha_bytes;
    for (int64_t i = 0; i < c.n; ++i) {
      const float alpha = c.format->is_quantized() ? 0.001f + random->value() * random->value() : 1.0f;
      std::memcpy(alphas + i * 4, &alpha, sizeof(alpha));
    }
    for (int64_t i = 0; i < codes_bytes; ++i) codes[i] = code_byte(c, random);
    if (!c.format->is_quantized()) make_finite(codes, codes_bytes);
    view = PackedView{c.format, c.n, c.k, header.n_padded, header.k_padded, alphas, codes, 0};
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

// A size that meets full tiles, tails and odd ends.
int64_t random_columns(Random* random) {
  if (random->chance(10)) return random->between(1200, 2700);
  if (random->chance(20)) return random->between(1, 12) * 64;
  return random->between(1, 700);
}

Case random_case(const WeightFormat& format, Random* random) {
  Case c{};
  c.format = &format;
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

}  // namespace

bool check_linear(const Kernel& kernel, Random* random, Tally* tally) {
  for (const WeightFormat& format : kFormats) {
    if (format.is_base3() && !kernel.runs_base3) continue;
    if (!check_case(random_case(format, random), kernel, random, tally)) return false;
  }
  return true;
}

bool check_linear_extremes(const Kernel& kernel, Random* random, Tally* tally) {
  for (const WeightFormat& format : kFormats) {
    if (format.is_base3() && !kernel.runs_base3) continue;
    for (const int64_t tokens : {1, 7}) {
      const Case c{&format, 17, kMaxColumns, tokens, Fill::kLargest, false, false, false, true};
      if (!check_case(c, kernel, random, tally)) return false;
    }
  }
  return true;
}

}  // namespace edge
