#include "elementwise.h"

#include "math.h"

namespace edge {
namespace {
constexpr int64_t kValuesPerThread = 1 << 14;  // floats that are worth waking a thread
}  // namespace

void rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim,
              const ParallelFor& parallel, float* y) {
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * dim;
      float* out = y + row * dim;
      const float inverse = 1.0f / std::sqrt(dot(in, in, dim) / static_cast<float>(dim) + eps);
      for (int64_t i = 0; i < dim; ++i) out[i] = (in[i] * inverse) * weight[i];
    }
  };
  parallel(rows, grain_for(kValuesPerThread, dim), body);
}

void silu_mul(const float* gate, const float* up, int64_t count, const ParallelFor& parallel, float* y) {
  auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = gate[i] / (1.0f + exp_deterministic(-gate[i])) * up[i];
  };
  parallel(count, kValuesPerThread, body);
}

}  // namespace edge
