// RMSNorm and SiLU-multiply.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace edge {

// y[row] = (x[row] * (1 / sqrt(mean(x[row]^2) + eps))) * weight; x, y: [rows, dim], weight: [dim].
void rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim,
              const ParallelFor& parallel, float* y);

// y = gate / (1 + e^-gate) * up, element by element.
void silu_mul(const float* gate, const float* up, int64_t count, const ParallelFor& parallel, float* y);

}  // namespace edge
