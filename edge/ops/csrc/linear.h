// y = x W^T with a packed low-bit W, and the look-up of its rows.
#pragma once

#include "error.h"
#include "kernels/gemm.h"
#include "layout.h"
#include "parallel.h"

namespace edge {

// Bytes of scratch that `linear` needs, to be aligned like max_align_t; 0 for fp16 tables.
int64_t linear_scratch_bytes(int64_t tokens, const PackedView& weight);

// x: float32 [tokens, k]; y: float32 [tokens, n]; neither overlaps the other.
// Quantised formats: activations are quantised per token (quantize_act.h), then
//   y = (float)(step * sum(code * q) + offset * sum(q)) * (alpha * unit) * scale, left to right.
// fp16: y = sum of half * x over k, ascending, in float32.
// The bits of y depend on nothing but x and W: not on the kernel, the threads, or other tokens.
void linear(const float* x, int64_t tokens, const PackedView& weight, const GemmKernel& kernel,
            const ParallelFor& parallel, void* scratch, float* y);

// out: float32 [count, k]; out[i] = row ids[i] of the table, ((float)level * unit) * alpha.
// False and a sentence when an id is not a row of the table; out is then unspecified.
bool embedding(const int64_t* ids, int64_t count, const PackedView& table, float* out, Error* error);

}  // namespace edge
