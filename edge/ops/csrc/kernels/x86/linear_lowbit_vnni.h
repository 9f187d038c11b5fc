// The inner loops of every kernel whose CPU has vpdpbusd: 32-bit lanes take four products of an unsigned
// code and a signed activation, summed into int32 exactly for codes of up to 8 bits. So codes need not be
// shifted down to bit 0: a mask leaves code << shift, whose sums are kept apart and shifted down once, at
// the end. `V` is a register width: it holds a 64-byte line in one zmm or in two ymm registers.
//
// vpdpbusd has a latency of 5 cycles and two can start per cycle, so the loops use about ten independent
// sums.
#pragma once

#include "kernels/generic/tile_sums_generic.h"

namespace edge {
namespace {

// Prefetch distance, measured on Zen 3 (linear_lowbit_avx2.h). An address beyond the table is harmless.
constexpr int64_t kPrefetchBytes = 4096;

inline void prefetch(const uint8_t* line) {
  __builtin_prefetch(line + kPrefetchBytes);
}

// Prefetches what is needed some time after `current`. Blocks that are multiplied together are read in
// another order than they lie in, so for several this goes line after line through the same `bytes` of the
// blocks that follow them.
template <int kBlocks>
struct Ahead {
  const uint8_t *line, *end;
  int64_t block_bytes, bytes;

  Ahead(const uint8_t* lines, int64_t block_bytes, int64_t bytes)
      : line(lines + kBlocks * block_bytes), end(line + bytes), block_bytes(block_bytes), bytes(bytes) {}
  void next(const uint8_t* current) {
    if constexpr (kBlocks == 1) return prefetch(current);
    __builtin_prefetch(line);
    line += 64;
    if (line == end) {
      line += block_bytes - bytes;
      end += block_bytes;
    }
  }
};

// Returns true if a lane's sum fits int32 at the largest k, with every byte and activation at its largest.
constexpr bool sums_fit(int64_t largest_byte) {
  return largest_byte * 127 * 65536 <= INT32_MAX;
}

// 1, 2, 4 and 8 bits, kLines lines of each of kBlocks blocks a step; blocks follow each other. Position p of
// a byte has a sum of its own, of code << (kBits * p).
template <class V, int kBits, int kLines, int kBlocks>
void gemv_positions(const uint8_t* lines, int64_t block_bytes, int64_t k_padded, const int8_t* q,
                    int32_t* out) {
  constexpr int kPositions = 8 / kBits, kMask = (1 << kBits) - 1;
  static_assert(sums_fit(255) && 2 * kBits % kLines == 0);
  typename V::Ints sums[kBlocks][kLines][kPositions];
#pragma GCC unroll 8
  for (int b = 0; b < kBlocks; ++b) {
    for (auto& line : sums[b]) {
      for (auto& sum : line) sum = typename V::Ints{};
    }
  }
  Ahead<kBlocks> ahead(lines, block_bytes, k_padded * 2 * kBits);
  const uint8_t* const end = lines + k_padded * 2 * kBits;
  for (; lines < end; lines += 64 * kLines, q += 4 * kPositions * kLines) {
#pragma GCC unroll 8
    for (int l = 0; l < kLines; ++l) {
      typename V::Bytes line[kBlocks];
#pragma GCC unroll 8
      for (int b = 0; b < kBlocks; ++b) {
        const uint8_t* const bytes = lines + b * block_bytes + 64 * l;
        ahead.next(bytes);
        line[b] = V::load(bytes);
      }
#pragma GCC unroll 8
      for (int p = 0; p < kPositions; ++p) {
#pragma GCC unroll 8
        for (int b = 0; b < kBlocks; ++b) {
          const auto codes = kBits == 8 ? line[b] : V::mask(line[b], kMask << kBits * p);
          sums[b][l][p] = V::dot(sums[b][l][p], codes, q + 4 * (kPositions * l + p));
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < kBlocks; ++b) {
    typename V::Ints total = {};
    for (int p = 0; p < kPositions; ++p) {
      typename V::Ints sum = sums[b][0][p];
      for (int l = 1; l < kLines; ++l) sum = sum + sums[b][l][p];
      total = total + (sum >> kBits * p);
    }
    V::store(total, out + b * kRows);
  }
}

// 3 bits: the sums of one block. Codes at bit 3 have a sum of their own, and so have the two of the spare
// bits, at bits 2 and 5 of the byte that joins them. V::kSums3 lines have sums of their own, or one sum waits
// for the other.
template <class V>
struct Sums3 {
  static_assert(sums_fit(0xe0));
  typename V::Ints at0[V::kSums3], at3[V::kSums3], at2, at5;

  void add(const uint8_t* lines, const int8_t* q) {
    typename V::Bytes line[3];
#pragma GCC unroll 3
    for (int l = 0; l < 3; ++l) {
      line[l] = V::load(lines + 64 * l);
      auto& low = at0[l % V::kSums3];
      auto& high = at3[l % V::kSums3];
      low = V::dot(low, V::mask(line[l], 0x07), q + 8 * l);
      high = V::dot(high, V::mask(line[l], 0x38), q + 8 * l + 4);
    }
    const auto first_two = V::template join<0xc0>(line[0], V::template shift_right<2>(line[1]));
    const auto spare = V::template join<0xf0>(first_two, V::template shift_right<4>(line[2]));
    at2 = V::dot(at2, V::mask(spare, 0x1c), q + 24);
    at5 = V::dot(at5, V::mask(spare, 0xe0), q + 28);
  }
  void finish(int32_t* out) const {
    typename V::Ints low = at0[0], high = at3[0];
    for (int l = 1; l < V::kSums3; ++l) {
      low = low + at0[l];
      high = high + at3[l];
    }
    V::store(low + (high >> 3) + (at2 >> 2) + (at5 >> 5), out);
  }
};

template <class V, int kBlocks>
void gemv_bits3(const uint8_t* lines, int64_t block_bytes, int64_t k_padded, const int8_t* q, int32_t* out) {
  Sums3<V> sums[kBlocks];
  for (auto& each : sums) each = Sums3<V>{};
  Ahead<kBlocks> ahead(lines, block_bytes, k_padded * 6);
  const uint8_t* const end = lines + k_padded * 6;
  for (; lines < end; lines += 192, q += 32) {
    for (int line = 0; line < 3 * kBlocks; ++line) ahead.next(lines + 64 * line);
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) sums[b].add(lines + b * block_bytes, q);
  }
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) sums[b].finish(out + b * kRows);
}

// Base 3 needs no trits: three times a byte is 256 * trit + rest, so sum(trit * q) is
// (3 * sum(byte * q) - sum(rest * q)) / 256, and the rest is the byte of the next position.
template <class V>
struct SumsOfTrit {
  typename V::Ints bytes, rests;

  typename V::Bytes add(typename V::Bytes byte, const int8_t* q) {
    bytes = V::dot(bytes, byte, q);
    const typename V::Bytes rest = V::add_bytes(byte, V::add_bytes(byte, byte));
    rests = V::dot(rests, rest, q);
    return rest;
  }

  // out[row] += sum(trit * q), computed in 64 bits because 3 * bytes can exceed int32.
  void finish(int32_t* out) const {
    alignas(64) int32_t b[kRows], r[kRows];
    V::store(bytes, b);
    V::store(rests, r);
    for (int row = 0; row < kRows; ++row) {
      out[row] += static_cast<int32_t>((int64_t{3} * b[row] - r[row]) / 256);
    }
  }
};

template <class V>
void gemv_base3(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  static_assert(sums_fit(255));
  SumsOfTrit<V> sums[5];
  for (auto& each : sums) each = SumsOfTrit<V>{};
  const uint8_t* const end = lines + k_padded / 20 * 64;
  for (; lines < end; lines += 64, q += 20) {
    prefetch(lines);
    typename V::Bytes line = V::load(lines);
#pragma GCC unroll 5
    for (int p = 0; p < 5; ++p) line = sums[p].add(line, q + 4 * p);
  }
  std::memset(out, 0, kRows * sizeof(int32_t));
  for (const auto& each : sums) each.finish(out);
}

// The rows of activations of kTokens tokens. Keeps the address of every fourth row and computes the others
// from it, because one address per token would not fit the general registers.
template <int kTokens>
struct TokenRows {
  static constexpr int kPointers = (kTokens + 3) / 4;
  const int8_t* fourth[kPointers];
  int64_t stride;

  TokenRows(const int8_t* q, int64_t q_stride) : stride(q_stride) {
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) fourth[i] = q + 4 * i * q_stride;
  }
  const int8_t* of(int token) const { return fourth[token / 4] + token % 4 * stride; }
  void advance(int64_t columns) {
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) fourth[i] += columns;
  }
};

// Multiplies kTokens tokens, from `token` on, by a tile of one-byte codes; `q` is the first token's. If there
// are few, each has several sums, which take the lines in turn.
template <class V, int kTokens, class Into>
void gemm_tokens(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t token,
                 const Into& where) {
  constexpr int kLines = kTokens < V::kSums ? V::kSums / kTokens : 1;
  typename V::Ints sums[kLines][kTokens];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    sums[0][t] = where.start(token + t);
    for (int l = 1; l < kLines; ++l) sums[l][t] = typename V::Ints{};
  }
  TokenRows<kTokens> rows(q, q_stride);
  const uint8_t* const end = tile + columns * kRows;
  for (; tile + 64 * kLines <= end; tile += 64 * kLines, rows.advance(4 * kLines)) {
#pragma GCC unroll 16
    for (int l = 0; l < kLines; ++l) {
      const typename V::Bytes codes = V::load(tile + 64 * l);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) sums[l][t] = V::dot(sums[l][t], codes, rows.of(t) + 4 * l);
    }
  }
  if constexpr (kLines > 1) {
    for (; tile < end; tile += 64, rows.advance(4)) {
      const typename V::Bytes codes = V::load(tile);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) sums[0][t] = V::dot(sums[0][t], codes, rows.of(t));
    }
  }
  const Into into = where;  // a copy may stay in registers
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int l = 1; l < kLines; ++l) sums[0][t] = sums[0][t] + sums[l][t];
    into.finish(token + t, sums[0][t]);
  }
}

// Multiplies kTokens tokens at a time, as many as fit the registers; then the rest by half as many, and so
// on.
template <class V, int kTokens, class Into>
void gemm_all(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t token,
              int64_t tokens, const Into& into) {
  for (; token + kTokens <= tokens; token += kTokens) {
    gemm_tokens<V, kTokens>(tile, columns, q + token * q_stride, q_stride, token, into);
  }
  if constexpr (kTokens > 1) gemm_all<V, kTokens / 2>(tile, columns, q, q_stride, token, tokens, into);
}

// fp16: multiply, then add, as everywhere; a fused operation would round differently.
template <class V, int kTokens>
void gemm_fp16_tokens(const uint8_t* lines, const float* x, int64_t k, float* out) {
  typename V::Floats sums[kTokens];
  for (auto& sum : sums) sum = V::zero_floats();
  for (int64_t column = 0; column < k; ++column) {
    const uint8_t* const line = lines + column / 2 * 64;
    if (column % 2 == 0) prefetch(line);
    const typename V::Floats weights = V::load_halves(line, column % 2);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) sums[t] = V::multiply_add(sums[t], weights, x[t * k + column]);
  }
  for (int t = 0; t < kTokens; ++t) V::store_floats(sums[t], out + t * kRows);
}

template <class V, int kTokens>
void gemm_fp16_all(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
  for (; tokens >= kTokens; tokens -= kTokens, x += kTokens * k, acc += kTokens * kRows) {
    gemm_fp16_tokens<V, kTokens>(lines, x, k, acc);
  }
  if constexpr (kTokens > 1) gemm_fp16_all<V, kTokens / 2>(lines, x, k, tokens, acc);
}

}  // namespace
}  // namespace edge
