// Multiply activations by a packed table, with norm, gate and residual fused in; look up rows of a table.
#pragma once

#include "core/error.h"
#include "core/layout.h"
#include "core/parallel.h"
#include "kernels/generic/kernel.h"

namespace edge {

// Operations fused with a product.
struct LinearFusion {
  const float* norm_weight = nullptr;  // [k]: x is replaced by RMSNorm(x) * norm_weight
  float eps = 0;
  const float* residual = nullptr;  // [tokens, n]: added to the product
  bool gate_up = false;             // W is [gate; up], y [tokens, n / 2] = SiLU(gate x) * up x
  bool gelu = false;                // GELU by its tanh form instead of SiLU
};

// Computes the bytes of scratch that `linear` needs, to be aligned like max_align_t. False with a sentence
// when the product is refused: too many tokens, or [gate; up] whose halves are not whole blocks of 16 rows.
bool linear_scratch(int64_t tokens, const PackedView& weight, const LinearFusion& fusion, int64_t* bytes,
                    Error* error);

// x: float32 [tokens, k]; y: float32 [tokens, n], or n / 2; y may be the residual but not overlap x.
//
// Quantised tables: activations are quantised per token,
//   act_scale = max|x| / 127, q = round_half_even(x * (127 / max|x|)) within [-127, 127];
//   a row of zeros, or one so small that 127 / max|x| is not finite (below 4e-37), gives act_scale 0;
//   a row with inf or NaN gives q = 0 and act_scale NaN, so that its whole output is NaN.
// acc = sum(code * q) and act_sum = sum(q) are exact integers, over the row or over a group of columns. Then,
// in float32, each operation rounded once and from left to right:
//   one zero for the table:  sum = float(step * acc + offset * act_sum), s = scale * (1 / step)
//                            (integer_levels of core/layout.h)
//   a zero of its own:       sum = float(acc) - zero * float(act_sum),   s = scale
//   one scale per row:       y = sum * s * act_scale
//   groups:                  y = (sum * s of group 0 + sum * s of group 1 + ...) * act_scale, ascending
// Tables of halves: y = sum of half * x over k, ascending, in float32.
//
// The bits of y depend on nothing but x and the table: not on the kernel, the threads, or other tokens; and a
// fused product has the bits of the ops it replaces.
//
// `weight` must be as the kernel runs it (core/unpacked_ternary.h) and linear_scratch must have accepted it.
void linear(const float* x, int64_t tokens, const PackedView& weight, const LinearFusion& fusion,
            const Kernel& kernel, const ParallelFor& parallel, void* scratch, float* y);

// out: float32 [count, k]; out[i] = row ids[i] of the table, (float(code) - zero) * scale.
// False and a sentence when an id is not a row of the table; out is then not written.
bool embedding(const int64_t* ids, int64_t count, const PackedView& table, float* out, Error* error);

}  // namespace edge
