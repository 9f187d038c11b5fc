#include "core/elementwise.h"

#include "core/limits.h"

namespace edge {
namespace {
constexpr int64_t kValuesPerThread = 1 << 14;  // floats that are worth waking a thread
}  // namespace

bool rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim, const Kernel& kernel,
              const ParallelFor& parallel, float* y, Error* error) {
  if (!check_rows("rms_norm", rows, dim, error)) return false;
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      kernel.rms_norm(x + row * dim, weight, eps, dim, y + row * dim);
    }
  };
  parallel(rows, grain_for(kValuesPerThread, dim), body);
  return true;
}

bool gate_mul(const float* gate, const float* up, int64_t count, bool gelu, const Kernel& kernel,
              const ParallelFor& parallel, float* y, Error* error) {
  if (!check_rows("gate_mul", count, 1, error)) return false;
  auto body = [&](int64_t begin, int64_t end) {
    kernel.gate_mul(gate + begin, up + begin, end - begin, gelu, y + begin);
  };
  parallel(count, kValuesPerThread, body);
  return true;
}

}  // namespace edge
