// The elementwise ops, for where they are not fused into a linear. False with a sentence when a size is out
// of range.
#pragma once

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/generic/kernel.h"

namespace edge {

// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension; x, y float32 [rows, dim].
bool rms_norm(const float* x, const float* weight, float eps, int64_t rows, int64_t dim, const Kernel& kernel,
              const ParallelFor& parallel, float* y, Error* error);

// y = gate / (1 + e^-gate) * up, float32 [count].
bool gate_mul(const float* gate, const float* up, int64_t count, bool gelu, const Kernel& kernel,
              const ParallelFor& parallel, float* y, Error* error);

}  // namespace edge
