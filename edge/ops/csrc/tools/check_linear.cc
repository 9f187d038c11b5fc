// lowbit::linear of one kernel against the scalar kernel.
#include <cinttypes>
#include <cstdio>

#include "core/linear.h"
#include "core/unpacked_ternary.h"
#include "tools/checks.h"
#include "tools/random_table.h"

namespace edge {
namespace {

struct Case {
  TableForm form;
  int64_t n, k, tokens;
  Fill fill;
  bool gate_up, gelu, norm, residual;
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

std::vector<float> multiply(const Case& c, const RandomTable& table, const std::vector<float>& x,
                            const LinearFusion& fusion, const Kernel& kernel, Error* error) {
  RunnableTable runnable;
  int64_t bytes = 0;
  if (!runnable_copy(table.view(), kernel, &runnable, error) ||
      !linear_scratch(c.tokens, runnable.view, fusion, &bytes, error)) {
    return {};
  }
  std::vector<char> scratch(static_cast<size_t>(bytes));
  std::vector<float> y(static_cast<size_t>(c.tokens * (c.gate_up ? c.n / 2 : c.n)));
  linear(x.data(), c.tokens, runnable.view, fusion, kernel, serial(), scratch.data(), y.data());
  return y;
}

bool check_case(const Case& c, const Kernel& kernel, Random* random, Tally* tally) {
  const RandomTable table(c.form, c.n, c.k, c.fill, random);
  const std::vector<float> x = activations(c, random);
  const std::vector<float> norm = random->values(c.k), residual = random->values(c.tokens * c.n);
  LinearFusion fusion;
  fusion.norm_weight = c.norm ? norm.data() : nullptr;
  fusion.eps = 1e-5f;
  fusion.residual = c.residual ? residual.data() : nullptr;
  fusion.gate_up = c.gate_up;
  fusion.gelu = c.gelu;
  Error error;
  const std::vector<float> want = multiply(c, table, x, fusion, kScalar, &error);
  const std::vector<float> got = multiply(c, table, x, fusion, kernel, &error);
  if (error.message[0] == '\0') return tally->same(kernel, describe(c), want, got);
  std::printf("%s: %s: %s\n", kernel.name, describe(c).c_str(), error.message);
  return false;
}

// Returns a number of columns. Over many calls, full tiles, partial tiles and odd sizes all occur.
int64_t random_columns(Random* random) {
  if (random->chance(10)) return random->between(1200, 2700);
  if (random->chance(20)) return random->between(1, 12) * 64;
  return random->between(1, 700);
}

Case random_case(const EncodingTraits& encoding, Random* random) {
  Case c{};
  c.form = random_form(encoding, random);
  c.gate_up = random->chance(25);
  c.gelu = random->chance(50);
  // Kernels multiply some blocks of 16 rows together, and then what is left.
  const int64_t most_blocks = random->chance(25) ? 11 : 3;
  c.n = c.gate_up ? random->between(1, most_blocks) * 32 : random->between(1, most_blocks * 16);
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
  for (const EncodingTraits& encoding : kEncodings) {
    if (!check_case(random_case(encoding, random), kernel, random, tally)) return false;
  }
  return true;
}

bool check_linear_extremes(const Kernel& kernel, Random* random, Tally* tally) {
  for (const EncodingTraits& encoding : kEncodings) {
    // A zero between two codes doubles the sums, and int32 must still hold them (not at 8 bits).
    const float middle = encoding.codes == 256 ? 128.0f : static_cast<float>(encoding.largest_code()) / 2;
    const float zero = encoding.is_quantized() ? middle : 0.0f;
    const TableForm form{&encoding, 0, ScaleType::kFloat32, false, zero};
    for (const int64_t tokens : {1, 7}) {
      const Case c{form, 17, kMaxColumns, tokens, Fill::kLargest, false, false, false, false, true};
      if (!check_case(c, kernel, random, tally)) return false;
    }
  }
  return true;
}

}  // namespace edge
