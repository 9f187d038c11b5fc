// y = x W^T with a packed low-bit W, what is fused around it, and the look-up of its rows.
#pragma once

#include "core/error.h"
#include "core/layout.h"
#include "core/parallel.h"
#include "kernels/generic/kernel.h"

namespace edge {

// What happens in front of the product and behind it.
struct LinearFusion {
  const float* norm_weight = nullptr;  // [k]: x is replaced by RMSNorm(x) * norm_weight
  float eps = 0;
  const float* residual = nullptr;  // [tokens, n]: added to the product
  bool gate_up = false;             // W is [gate; up], y [tokens, n / 2] = SiLU(gate x) * up x
};

// Bytes of scratch that `linear` needs, to be aligned like max_align_t.
int64_t linear_scratch_bytes(int64_t tokens, const PackedView& weight, const LinearFusion& fusion);

// x: float32 [tokens, k]; y: float32 [tokens, n], or n / 2; y may be the residual but not overlap x.
// Quantised formats: activations are quantised per token,
//   scale = max|x| / 127, q = round_half_even(x * (127 / max|x|)) within [-127, 127];
//   a row of zeros, or one so small that 127 / max|x| is not finite (below 4e-37), gives scale 0;
//   a row with inf or NaN gives q = 0 and scale NaN, so that its whole output is NaN;
// then y = (float)(step * sum(code * q) + offset * sum(q)) * (alpha * unit) * scale, left to right.
// fp16: y = sum of half * x over k, ascending, in float32.
// The bits of y depend on nothing but x and W: not on the kernel, the threads, or other tokens; and a
// fused product has the bits of the ops it replaces.
// False and a sentence when W cannot be run: [gate; up] whose halves are not whole blocks of 16 rows,
// or damaged ternary.
bool linear(const float* x, int64_t tokens, const PackedView& weight, const LinearFusion& fusion,
            const Kernel& kernel, const ParallelFor& parallel, void* scratch, float* y, Error* error);

// out: float32 [count, k]; out[i] = row ids[i] of the table, ((float)level * unit) * alpha.
// False and a sentence when an id is not a row of the table; out is then unspecified.
bool embedding(const int64_t* ids, int64_t count, const PackedView& table, float* out, Error* error);

}  // namespace edge
