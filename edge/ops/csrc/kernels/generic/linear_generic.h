// y = W x over blocks of 16 rows, written once for all instruction sets. `Isa` gives the inner loops.
#pragma once

#include <cstring>

#include "kernels/generic/float_rows_generic.h"
#include "kernels/generic/kernel.h"

namespace edge {
namespace {

constexpr int kRows = 16;
constexpr int64_t kTileColumns = 1280;  // a multiple of 20, 32 and 64: whole groups of every storage
constexpr int64_t kTokenChunk = 128;    // tokens that meet an unpacked tile; bounds the accumulators
constexpr int64_t kHalfChunk = 16;

constexpr int64_t columns_of_group(Storage storage) {
  return storage == Storage::kBase3 ? 20 : 32;
}

constexpr int64_t bytes_of_group(Storage storage) {
  switch (storage) {
    case Storage::kBits1:
    case Storage::kBase3:
      return 64;
    case Storage::kBits2:
      return 128;
    case Storage::kBits3:
      return 192;
    case Storage::kBits4:
      return 256;
    case Storage::kBits8:
      return 512;
    case Storage::kHalf:
      return 1024;
  }
  return 0;
}

constexpr int largest_code(Storage storage) {
  switch (storage) {
    case Storage::kBits1:
      return 1;
    case Storage::kBase3:
      return 2;
    case Storage::kBits2:
      return 3;
    case Storage::kBits3:
      return 7;
    case Storage::kBits4:
      return 15;
    default:
      return 255;
  }
}

// The one float expression that every finished integer goes through.
inline void scale_rows(const LinearJob& job, int64_t block, const int32_t* acc, TokenScale token,
                       float* out) {
  float alpha[kRows];
  std::memcpy(alpha, job.alphas + block * sizeof(alpha), sizeof(alpha));
  for (int row = 0; row < kRows; ++row) {
    const int32_t sum = job.step * acc[row] + job.offset * token.act_sum;
    out[row] = static_cast<float>(sum) * (alpha[row] * job.unit) * token.scale;
  }
}

// fp16 tables store alpha 1, so this multiplication changes nothing unless the table was altered.
inline void scale_halves(const LinearJob& job, int64_t block, const float* acc, float* out) {
  float alpha[kRows];
  std::memcpy(alpha, job.alphas + block * sizeof(alpha), sizeof(alpha));
  for (int row = 0; row < kRows; ++row) out[row] = acc[row] * (alpha[row] * job.unit);
}

// Writes 16 finished rows of one token, fewer at the end of the table; `up` is null or gate's partner.
inline void store_rows(const LinearJob& job, int64_t block, int64_t token, float* rows, const float* up) {
  const int64_t row0 = block * kRows;
  const int64_t count = job.y_rows - row0 < kRows ? job.y_rows - row0 : kRows;
  if (up != nullptr) silu_mul_row(rows, up, kRows, rows);
  if (job.residual != nullptr) {
    const float* residual = job.residual + token * job.y_rows + row0;
    for (int64_t row = 0; row < count; ++row) rows[row] = residual[row] + rows[row];
  }
  float* y = job.y + token * job.y_rows + row0;
  if (count == kRows) {
    std::memcpy(y, rows, kRows * sizeof(float));
  } else {
    for (int64_t row = 0; row < count; ++row) y[row] = rows[row];
  }
}

inline const uint8_t* block_codes(const LinearJob& job, int64_t block) {
  return job.codes + block * job.block_bytes;
}

// Decode: one token, codes straight from memory.
template <class Isa, Storage kStorage>
void multiply_token(const LinearJob& job, int64_t begin, int64_t end) {
  alignas(64) int32_t acc[kRows];
  alignas(64) float rows[kRows], up[kRows];
  for (int64_t block = begin; block < end; ++block) {
    Isa::template gemv<kStorage>(block_codes(job, block), job.k_padded, job.q, acc);
    scale_rows(job, block, acc, job.scales[0], rows);
    if (job.up_block != 0) {
      const int64_t partner = block + job.up_block;
      Isa::template gemv<kStorage>(block_codes(job, partner), job.k_padded, job.q, acc);
      scale_rows(job, partner, acc, job.scales[0], up);
    }
    store_rows(job, block, 0, rows, job.up_block != 0 ? up : nullptr);
  }
}

// acc[token * 16 + row] for `count` tokens from `first` on; every tile is unpacked once for all of them.
template <class Isa, Storage kStorage>
void multiply_block(const LinearJob& job, int64_t block, int64_t first, int64_t count, int32_t* acc) {
  alignas(64) uint8_t buffer[kTileColumns / 4 * 64];
  std::memset(acc, 0, static_cast<size_t>(count * kRows) * sizeof(int32_t));
  const uint8_t* lines = block_codes(job, block);
  for (int64_t column = 0; column < job.k_padded; column += kTileColumns) {
    const int64_t columns = job.k_padded - column < kTileColumns ? job.k_padded - column : kTileColumns;
    const uint8_t* groups = lines + column / columns_of_group(kStorage) * bytes_of_group(kStorage);
    const uint8_t* tile = Isa::template unpack<kStorage>(groups, columns, buffer);
    Isa::template gemm<kStorage>(tile, columns, job.q + first * job.q_stride + column, job.q_stride, count,
                                 acc);
  }
}

// Prefill: many tokens.
template <class Isa, Storage kStorage>
void multiply_tokens(const LinearJob& job, int64_t begin, int64_t end) {
  alignas(64) int32_t acc[kTokenChunk * kRows], up_acc[kTokenChunk * kRows];
  alignas(64) float rows[kRows], up[kRows];
  for (int64_t first = 0; first < job.tokens; first += kTokenChunk) {
    const int64_t count = job.tokens - first < kTokenChunk ? job.tokens - first : kTokenChunk;
    for (int64_t block = begin; block < end; ++block) {
      const int64_t partner = block + job.up_block;
      multiply_block<Isa, kStorage>(job, block, first, count, acc);
      if (job.up_block != 0) multiply_block<Isa, kStorage>(job, partner, first, count, up_acc);
      for (int64_t t = 0; t < count; ++t) {
        scale_rows(job, block, acc + t * kRows, job.scales[first + t], rows);
        if (job.up_block != 0) scale_rows(job, partner, up_acc + t * kRows, job.scales[first + t], up);
        store_rows(job, block, first + t, rows, job.up_block != 0 ? up : nullptr);
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
      Isa::halves(block_codes(job, block), x, job.k, count, acc);
      if (job.up_block != 0) Isa::halves(block_codes(job, partner), x, job.k, count, up_acc);
      for (int64_t t = 0; t < count; ++t) {
        scale_halves(job, block, acc + t * kRows, rows);
        if (job.up_block != 0) scale_halves(job, partner, up_acc + t * kRows, up);
        store_rows(job, block, first + t, rows, job.up_block != 0 ? up : nullptr);
      }
    }
  }
}

template <class Isa, Storage kStorage>
void multiply_codes(const LinearJob& job, int64_t begin, int64_t end) {
  if (job.tokens == 1) {
    multiply_token<Isa, kStorage>(job, begin, end);
  } else {
    multiply_tokens<Isa, kStorage>(job, begin, end);
  }
}

template <class Isa>
void linear_blocks(const LinearJob& job, int64_t begin, int64_t end) {
  switch (job.storage) {
    case Storage::kBits1:
      return multiply_codes<Isa, Storage::kBits1>(job, begin, end);
    case Storage::kBits2:
      return multiply_codes<Isa, Storage::kBits2>(job, begin, end);
    case Storage::kBits3:
      return multiply_codes<Isa, Storage::kBits3>(job, begin, end);
    case Storage::kBits4:
      return multiply_codes<Isa, Storage::kBits4>(job, begin, end);
    case Storage::kBits8:
      return multiply_codes<Isa, Storage::kBits8>(job, begin, end);
    case Storage::kBase3:
      if constexpr (Isa::kRunsBase3) return multiply_codes<Isa, Storage::kBase3>(job, begin, end);
      return;
    case Storage::kHalf:
      return multiply_halves<Isa>(job, begin, end);
  }
}

}  // namespace
}  // namespace edge
