// A kernel is the loops of every op for one instruction set. All kernels compute the same exact integers and
// the same floats in the same order, so every one gives the same bits.
//
// A kernel file defines a struct of primitives (primitives_generic.h says which) and instantiates the shared
// bodies (linear_generic.h, float_rows_generic.h, attention_generic.h) with it. It is compiled with its own
// instruction-set flags, so it must not instantiate inline functions that other files use too: the
// linker keeps one copy and might keep the one with the newer instructions. That is why the bodies and
// deterministic_math.h are static or in unnamed namespaces, and why jobs are plain structs.
#pragma once

#include <cstdint>

#include "core/attention_job.h"
#include "core/layout.h"

namespace edge {

struct TokenScale {
  float scale;      // activation = q * scale; NaN marks a row that held inf or NaN
  int32_t act_sum;  // sum of q
};

// Multiplies a table [n, k] by some tokens, with what is fused behind it. `n` rows and `k` columns are real.
struct LinearJob {
  TableForm form;
  const uint8_t* codes;       // block after block, block_bytes each
  const uint8_t* row_scales;  // float32[n_padded], may be unaligned; null with groups
  const uint8_t* row_zeros;   // likewise; null where zeros are not stored per row
  int64_t block_bytes;
  int64_t n, k, k_padded;
  IntegerLevels levels;       // where the table has one zero
  float inverse_step;         // 1 / levels.step: weight = level * (scale * inverse_step)
  const int8_t* q;            // [tokens, q_stride], zero from column k on, q_stride >= k_padded + 4
  int64_t q_stride;           // a multiple of 64
  const TokenScale* scales;   // [tokens]
  const int32_t* group_sums;  // [tokens, groups]: sums of q by group of columns; null without groups
  int64_t groups;
  const float* x;  // [tokens, k], for tables of halves instead of q
  int64_t tokens;
  const float* residual;  // [tokens, n] to add to the result, or null
  int64_t up_block;       // 0, or: the table is [gate; up], up starts at this block, y = SiLU(gate) * up
  bool gelu;              // GELU instead of SiLU
  int64_t y_rows;         // n, or the rows of gate
  float* y;               // [tokens, y_rows]
};

struct Kernel {
  const char* name;
  bool (*supported)();
  // Multiplies base-3 tables as they are. Other kernels are handed their 2-bit form
  // (core/unpacked_ternary.h).
  bool runs_base3;
  // Blocks [begin, end) of y's rows, all tokens.
  void (*linear)(const LinearJob& job, int64_t begin, int64_t end);
  // One row: x[k], or RMSNorm(x) where norm_weight is not null, to q[q_stride] (zeros behind k).
  TokenScale (*quantize)(const float* x, const float* norm_weight, float eps, int64_t k, int64_t q_stride,
                         int8_t* q);
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t dim, float* y);
  // SiLU(gate) * up, or GELU(gate) * up.
  void (*gate_mul)(const float* gate, const float* up, int64_t count, bool gelu, float* y);
  // Keys and values of tokens [begin, end) into the caches of a job (attention_job.h).
  void (*write_cache)(const AttentionJob& job, int64_t begin, int64_t end);
  // Items [begin, end) of a job: item = token * heads + head.
  void (*attend)(const AttentionJob& job, int64_t begin, int64_t end);
};

extern const Kernel kScalar;  // the reference; cmake/kernels.cmake lists the others

}  // namespace edge
