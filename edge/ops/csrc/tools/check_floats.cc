// Compares a kernel's float loops with the scalar kernel's.
#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "core/layout.h"
#include "tools/checks.h"

namespace edge {
namespace {

std::string describe(const char* op, int64_t count) {
  char text[80];
  std::snprintf(text, sizeof(text), "%s of %" PRId64 " values", op, count);
  return text;
}

// Makes mostly ordinary rows, and some with zeros, huge or tiny values, inf or NaN.
std::vector<float> random_row(Random* random, int64_t count) {
  constexpr float kScales[] = {1.0f, 100.0f, 1e-3f, 3e38f, 1e-37f, 1e-42f, 0.0f};
  std::vector<float> x = random->values(count, kScales[random->chance(70) ? 0 : random->between(0, 6)]);
  if (random->chance(10)) x[static_cast<size_t>(random->between(0, count - 1))] = INFINITY;
  if (random->chance(10)) x[static_cast<size_t>(random->between(0, count - 1))] = -NAN;
  return x;
}

bool check_quantize(const Kernel& kernel, Random* random, Tally* tally) {
  const int64_t k = random->between(1, 3000), stride = round_up(k + 4, kColumnMultiple);
  const std::vector<float> x = random_row(random, k), norm = random->values(k);
  const bool with_norm = random->chance(50);
  std::vector<int8_t> want(static_cast<size_t>(stride), 55), got(static_cast<size_t>(stride), -55);
  const float* weight = with_norm ? norm.data() : nullptr;
  const TokenScale a = kScalar.quantize(x.data(), weight, 1e-5f, k, stride, want.data());
  const TokenScale b = kernel.quantize(x.data(), weight, 1e-5f, k, stride, got.data());
  const std::string what = describe(with_norm ? "norm and quantize" : "quantize", k);
  return tally->same_bytes(kernel, what + ", scale and sum", &a, &b, sizeof(a)) &&
         tally->same_bytes(kernel, what + ", q", want.data(), got.data(), want.size());
}

bool check_rms_norm(const Kernel& kernel, Random* random, Tally* tally) {
  const int64_t dim = random->between(1, 3000);
  const std::vector<float> x = random_row(random, dim), weight = random->values(dim);
  std::vector<float> want(x.size()), got(x.size());
  kScalar.rms_norm(x.data(), weight.data(), 1e-5f, dim, want.data());
  kernel.rms_norm(x.data(), weight.data(), 1e-5f, dim, got.data());
  return tally->same(kernel, describe("rms_norm", dim), want, got);
}

bool check_gate_mul(const Kernel& kernel, Random* random, Tally* tally) {
  const int64_t count = random->between(1, 3000);
  std::vector<float> gate = random->values(count, 120.0f);
  if (random->chance(20)) gate = random_row(random, count);
  const std::vector<float> up = random->values(count, 3.0f);
  std::vector<float> want(up.size()), got(up.size());
  const bool gelu = random->chance(50);
  kScalar.gate_mul(gate.data(), up.data(), count, gelu, want.data());
  kernel.gate_mul(gate.data(), up.data(), count, gelu, got.data());
  return tally->same(kernel, describe("gate_mul", count), want, got);
}

}  // namespace

bool check_floats(const Kernel& kernel, Random* random, Tally* tally) {
  return check_quantize(kernel, random, tally) && check_rms_norm(kernel, random, tally) &&
         check_gate_mul(kernel, random, tally);
}

}  // namespace edge
