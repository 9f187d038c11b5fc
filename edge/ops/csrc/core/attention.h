// Causal attention of new tokens over a KV cache, with RoPE and the cache write fused in.
#pragma once

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/generic/kernel.h"

namespace edge {

// Rotates q and k (element i with i + D/2, as Hugging Face does), writes k and v into the caches, then
// attends. Token t sees positions 0 to start_pos + t, or the last `window` of them; scores are scaled by
// 1 / sqrt(D) and then capped; query head h reads kv head h / (H / Hkv). A token's result does not depend on
// how the prompt was split. Caches that are smaller than the context take a few tokens at a time, so that
// none is overwritten while it is seen.
//
// With int8 caches, each row of q, k and v is quantised symmetrically with one scale, as activations are.
// Scores are exact integers times the scales. In each tile of 64 positions, (probability * scale of v) is
// rounded to 14 bits of the tile's largest and summed with v in exact integers. A row with NaN or inf gets a
// NaN scale, so every token that sees it becomes NaN.
//
// Int4 caches work alike, with 16 levels from -15 to 15. Queries and keys are multiplied by the same
// orthogonal Hadamard matrix first, which leaves their products as they are and spreads the few large
// elements of a key over all of them, so that one scale fits (QuaRot, arXiv 2404.00456).
//
// Returns false with a sentence, and writes nothing, when the shape or start_pos is out of range.
bool attention(const AttentionJob& job, const Kernel& kernel, const ParallelFor& parallel, Error* error);

}  // namespace edge
