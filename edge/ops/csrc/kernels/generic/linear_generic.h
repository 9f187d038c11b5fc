// y = W x over blocks of 16 rows, written once for all instruction sets. `Isa` gives the inner loops.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/generic/float_rows_generic.h"
#include "kernels/generic/kernel.h"

namespace edge {
namespace {

constexpr int kRows = 16;
constexpr int64_t kTileColumns = 1280;          // a multiple of 20, 32 and 64: whole groups of every storage
constexpr int64_t kDecodeTileColumns = 128;     // of one token, where codes are unpacked first
constexpr int64_t kDecodePrefetchBytes = 4096;  // ahead of such a tile
constexpr int64_t kTokenChunk = 128;  // most tokens multiplied per unpacking of a tile; bounds `acc`
constexpr int64_t kHalfChunk = 16;

constexpr int64_t columns_of_group(Encoding encoding) {
  return traits_of(encoding).group_columns;
}

constexpr int64_t bytes_of_group(Encoding encoding) {
  return traits_of(encoding).group_lines * kLineBytes;
}

constexpr int largest_code(Encoding encoding) {
  return traits_of(encoding).largest_code();
}

// Widths that no kernel has a decode loop for: they are unpacked to bytes first, in decode as in prefill.
constexpr bool decodes_from_bytes(Encoding encoding) {
  return encoding == Encoding::kBits5 || encoding == Encoding::kBits6 || encoding == Encoding::kBits7;
}

inline const uint8_t* floats_of_block(const uint8_t* floats, int64_t block) {
  return floats + block * kRows * static_cast<int64_t>(sizeof(float));
}

// What turns sums of codes into sums of levels. A step is 1 or 2, and a shift is faster than a product.
struct IntegerSums {
  int32_t shift, offset;
  bool has_zeros;

  explicit IntegerSums(const LinearJob& job)
      : shift(job.levels.step - 1), offset(job.levels.offset), has_zeros(job.form.has_zeros) {}

  Floats of_levels(Ints sums, int32_t act_sum) const { return to_floats((sums << shift) + offset * act_sum); }
};

// Turns the integer sums of some rows into floats, not yet multiplied by the token's scale (core/linear.h has
// the expression). Uses vectors, because GCC splits a plain loop over 16 rows into single elements.
inline Floats scale_sums(const LinearJob& job, Ints sums, int32_t act_sum, Floats scale) {
  return IntegerSums(job).of_levels(sums, act_sum) * (scale * job.inverse_step);
}

// The same with a stored zero for each row.
inline Floats scale_sums(Ints sums, int32_t act_sum, Floats scale, Floats zero) {
  return (to_floats(sums) - zero * static_cast<float>(act_sum)) * scale;
}

inline void scale_rows(const LinearJob& job, int64_t block, const int32_t* acc, TokenScale token,
                       float* out) {
  const uint8_t* scales = floats_of_block(job.row_scales, block);
  if (job.row_zeros == nullptr) {
    for (int64_t row = 0; row < kRows; row += kFloats) {
      const Floats scale = load_floats(scales + row * 4);
      store_floats(out + row, scale_sums(job, load_ints(acc + row), token.act_sum, scale) * token.scale);
    }
    return;
  }
  const uint8_t* zeros = floats_of_block(job.row_zeros, block);
  for (int64_t row = 0; row < kRows; row += kFloats) {
    const Floats scale = load_floats(scales + row * 4), zero = load_floats(zeros + row * 4);
    store_floats(out + row, scale_sums(load_ints(acc + row), token.act_sum, scale, zero) * token.scale);
  }
}

// Tables of halves store scale 1, so this multiplication changes nothing unless the table was altered.
inline void scale_halves(const LinearJob& job, int64_t block, const float* acc, float* out) {
  const uint8_t* scales = floats_of_block(job.row_scales, block);
  for (int64_t row = 0; row < kRows; row += kFloats) {
    store_floats(out + row, load_floats(acc + row) * load_floats(scales + row * 4));
  }
}

// Writes rows of y for one token, those of `blocks` blocks, or fewer at the end of the table. If `up` is not
// null, `rows` are gate and become SiLU(rows) * up; the residual, if any, is added.
inline void store_rows(const LinearJob& job, int64_t block, int64_t blocks, int64_t token, float* rows,
                       const float* up) {
  const int64_t row0 = block * kRows, all = blocks * kRows;
  const int64_t count = job.y_rows - row0 < all ? job.y_rows - row0 : all;
  if (up != nullptr) gate_mul_row(rows, up, all, job.gelu, rows);
  float* y = job.y + token * job.y_rows + row0;
  const float* residual = job.residual == nullptr ? nullptr : job.residual + token * job.y_rows + row0;
  if (count < all) {
    for (int64_t row = 0; row < count; ++row)
      y[row] = residual == nullptr ? rows[row] : residual[row] + rows[row];
    return;
  }
  for (int64_t row = 0; row < all; row += kFloats) {
    const Floats values = load_floats(rows + row);
    store_floats(y + row, residual == nullptr ? values : load_floats(residual + row) + values);
  }
}

inline const uint8_t* block_codes(const LinearJob& job, int64_t block) {
  return job.codes + block * job.block_bytes;
}

// acc[token * 16 + row] = sum over `columns` of code * q for `count` tokens. `lines` hold whole groups; every
// tile of kColumns is unpacked once for all tokens.
template <class Isa, Encoding kEncoding, int64_t kColumns = kTileColumns>
void multiply_lines(const uint8_t* lines, int64_t columns, const int8_t* q, int64_t q_stride, int64_t count,
                    int32_t* acc) {
  alignas(64) uint8_t buffer[kColumns / 4 * 64];
  std::memset(acc, 0, static_cast<size_t>(count * kRows) * sizeof(int32_t));
  for (int64_t column = 0; column < columns; column += kColumns) {
    const int64_t width = columns - column < kColumns ? columns - column : kColumns;
    const uint8_t* groups = lines + column / columns_of_group(kEncoding) * bytes_of_group(kEncoding);
    if (kColumns == kDecodeTileColumns) {
      const uint8_t* ahead = groups + kDecodePrefetchBytes;
      const int64_t bytes = width / columns_of_group(kEncoding) * bytes_of_group(kEncoding);
      for (int64_t i = 0; i < bytes; i += kLineBytes) __builtin_prefetch(ahead + i);
    }
    const uint8_t* tile = Isa::template unpack<kEncoding>(groups, width, buffer);
    Isa::template gemm<kEncoding>(tile, width, q + column, q_stride, count, acc);
  }
}

// The same for one token, with codes straight from memory where the kernel can. Else in short tiles, so that
// reading and multiplying take turns often: with long ones memory rests while a tile is multiplied.
template <class Isa, Encoding kEncoding>
void multiply_lines_once(const uint8_t* lines, int64_t columns, const int8_t* q, int32_t* acc) {
  if constexpr (decodes_from_bytes(kEncoding)) {
    multiply_lines<Isa, kEncoding, kDecodeTileColumns>(lines, columns, q, 0, 1, acc);
  } else {
    Isa::template gemv<kEncoding>(lines, columns, q, acc);
  }
}

// acc[16 * i + row] of the same columns of `count` blocks that follow each other, for one token; together if
// there are enough.
template <class Isa, Encoding kEncoding>
void multiply_run(const uint8_t* lines, int64_t block_bytes, int64_t columns, const int8_t* q, int64_t count,
                  int32_t* acc) {
  if constexpr (Isa::blocks_at_once(kEncoding) > 1) {
    if (count == Isa::blocks_at_once(kEncoding)) {
      return Isa::template gemv_together<kEncoding>(lines, block_bytes, columns, q, acc);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    multiply_lines_once<Isa, kEncoding>(lines + i * block_bytes, columns, q, acc + i * kRows);
  }
}

// Returns how many blocks to multiply together. Together they are read in another order than they lie in.
// From a cache that is faster, but from memory it reaches 0.8 of the speed of a pure read loop instead of
// 0.95 (2 bits on Zen 5), and a model with tables as large as this does not fit a cache.
template <class Isa, Encoding kEncoding>
int64_t blocks_together(const LinearJob& job) {
  constexpr int64_t kLargeTable = int64_t{1} << 20;
  return job.n / kRows * job.block_bytes > kLargeTable ? 1 : Isa::blocks_at_once(kEncoding);
}

template <class Isa, Encoding kEncoding>
void multiply_blocks(const LinearJob& job, int64_t block, int64_t count, int32_t* acc) {
  multiply_run<Isa, kEncoding>(block_codes(job, block), job.block_bytes, job.k_padded, job.q, count, acc);
}

// Decode: one token.
template <class Isa, Encoding kEncoding>
void multiply_token(const LinearJob& job, int64_t begin, int64_t end) {
  constexpr int64_t kRun = Isa::blocks_at_once(kEncoding);
  alignas(64) int32_t acc[kRun * kRows], up_acc[kRun * kRows];
  alignas(64) float rows[kRun * kRows], up[kRun * kRows];
  const int64_t together = blocks_together<Isa, kEncoding>(job);
  for (int64_t block = begin; block < end; block += together) {
    const int64_t count = std::min(together, end - block);
    multiply_blocks<Isa, kEncoding>(job, block, count, acc);
    if (job.up_block != 0) multiply_blocks<Isa, kEncoding>(job, block + job.up_block, count, up_acc);
    for (int64_t i = 0; i < count; ++i) {
      scale_rows(job, block + i, acc + i * kRows, job.scales[0], rows + i * kRows);
      if (job.up_block == 0) continue;
      scale_rows(job, block + i + job.up_block, up_acc + i * kRows, job.scales[0], up + i * kRows);
    }
    store_rows(job, block, count, 0, rows, job.up_block != 0 ? up : nullptr);
  }
}

template <class Isa, Encoding kEncoding>
void multiply_block(const LinearJob& job, int64_t block, int64_t first, int64_t count, int32_t* acc) {
  multiply_lines<Isa, kEncoding>(block_codes(job, block), job.k_padded, job.q + first * job.q_stride,
                                 job.q_stride, count, acc);
}

// Prefill: many tokens.
template <class Isa, Encoding kEncoding>
void multiply_tokens(const LinearJob& job, int64_t begin, int64_t end) {
  alignas(64) int32_t acc[kTokenChunk * kRows], up_acc[kTokenChunk * kRows];
  alignas(64) float rows[kRows], up[kRows];
  for (int64_t first = 0; first < job.tokens; first += kTokenChunk) {
    const int64_t count = job.tokens - first < kTokenChunk ? job.tokens - first : kTokenChunk;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t partner = block + job.up_block;
      multiply_block<Isa, kEncoding>(job, block, first, count, acc);
      if (job.up_block != 0) multiply_block<Isa, kEncoding>(job, partner, first, count, up_acc);
      for (int64_t t = 0; t < count; ++t) {
        scale_rows(job, block, acc + t * kRows, job.scales[first + t], rows);
        if (job.up_block != 0) scale_rows(job, partner, up_acc + t * kRows, job.scales[first + t], up);
        store_rows(job, block, 1, first + t, rows, job.up_block != 0 ? up : nullptr);
      }
    }
  }
}

template <class Isa>
void multiply_halves(const LinearJob& job, int64_t begin, int64_t end) {
  alignas(64) float acc[kHalfChunk * kRows], up_acc[kHalfChunk * kRows], rows[kRows], up[kRows];
  for (int64_t block = begin; block < end; ++block) {
    const int64_t partner = block + job.up_block;
    for (int64_t first = 0; first < job.tokens; first += kHalfChunk) {
      const int64_t count = job.tokens - first < kHalfChunk ? job.tokens - first : kHalfChunk;
      const float* x = job.x + first * job.k;
      Isa::gemm_fp16(block_codes(job, block), x, job.k, count, acc);
      if (job.up_block != 0) Isa::gemm_fp16(block_codes(job, partner), x, job.k, count, up_acc);
      for (int64_t t = 0; t < count; ++t) {
        scale_halves(job, block, acc + t * kRows, rows);
        if (job.up_block != 0) scale_halves(job, partner, up_acc + t * kRows, up);
        store_rows(job, block, 1, first + t, rows, job.up_block != 0 ? up : nullptr);
      }
    }
  }
}

}  // namespace
}  // namespace edge
