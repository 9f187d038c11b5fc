// Primitives that the ARM kernels share: unpacking of packed lines, and fp16 tables.
#pragma once

#include <arm_neon.h>

#include "kernels/generic/make_kernel.h"
#include "kernels/generic/primitives_generic.h"

namespace edge {
namespace {

// A line of 16 rows is four registers: part i holds rows 4 i to 4 i + 3, four codes each.
constexpr int kParts = 4;

// Prefetch distance: the bytes that arrive at 14 GB/s during a memory latency of 150 ns. An address beyond
// the table is harmless.
constexpr int64_t kPrefetchBytes = 2048;

inline void prefetch(const uint8_t* line) {
  __builtin_prefetch(line + kPrefetchBytes);
}

// Keeps GCC from mixing the instructions before and after it until registers run out and sums are spilled.
inline void keep_parts_apart() {
  __asm__ volatile("");
}

inline uint8x16_t load_part(const uint8_t* line, int part) {
  return vld1q_u8(line + part * 16);
}

inline int8x16_t broadcast_quad(const int8_t* q) {
  int32_t quad;
  std::memcpy(&quad, q, sizeof(quad));
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

inline uint8x16_t shift_right(uint8x16_t bytes, int bits) {
  return vshlq_u8(bytes, vdupq_n_s8(static_cast<int8_t>(-bits)));
}

// The byte that joins the spare bits of a 3-bit group's lines (layout.h): bits 2 to 4 and bits 5 to 7 are
// codes, the lowest two bits are arbitrary.
inline uint8x16_t join_spare(uint8x16_t first, uint8x16_t second, uint8x16_t third) {
  return vsriq_n_u8(vsriq_n_u8(first, second, 2), third, 4);
}

// Adds a plane of `bits` to the codes of a group of 32 columns, `below` bits up.
inline void add_plane(const uint8_t* lines, int part, int bits, int below, uint8x16_t* codes) {
  const int positions = 8 / bits;
  const uint8x16_t mask = vdupq_n_u8(static_cast<uint8_t>((1 << bits) - 1));
  for (int quad = 0; quad < 8; ++quad) {
    const uint8x16_t line = load_part(lines + quad / positions * 64, part);
    const uint8x16_t value = vandq_u8(shift_right(line, quad % positions * bits), mask);
    codes[quad] = vorrq_u8(codes[quad], vshlq_u8(value, vdupq_n_s8(static_cast<int8_t>(below))));
  }
}

// Unpacks columns 4 quad to 4 quad + 3 of a group of 32 into codes[quad], for one part's rows. With kSigned,
// 8-bit codes become code - 128, for multiplications of signed bytes.
template <Encoding kEncoding, bool kSigned>
inline void unpack_part(const uint8_t* lines, int part, uint8x16_t* codes) {
  if constexpr (kEncoding == Encoding::kBits8) {
    const uint8x16_t flip = vdupq_n_u8(kSigned ? 0x80 : 0);
    for (int quad = 0; quad < 8; ++quad) codes[quad] = veorq_u8(load_part(lines + quad * 64, part), flip);
  } else if constexpr (kEncoding == Encoding::kBits3) {
    const uint8x16_t mask = vdupq_n_u8(7);
    uint8x16_t line[3];
    for (int l = 0; l < 3; ++l) {
      line[l] = load_part(lines + 64 * l, part);
      codes[2 * l] = vandq_u8(line[l], mask);
      codes[2 * l + 1] = vandq_u8(vshrq_n_u8(line[l], 3), mask);
    }
    const uint8x16_t spare = join_spare(line[0], line[1], line[2]);
    codes[6] = vandq_u8(vshrq_n_u8(spare, 2), mask);
    codes[7] = vshrq_n_u8(spare, 5);
  } else {
    for (int quad = 0; quad < 8; ++quad) codes[quad] = vdupq_n_u8(0);
    int below = 0;
    for (const int bits : traits_of(kEncoding).planes) {
      if (bits == 0) break;
      add_plane(lines, part, bits, below, codes);
      lines += bits * 64;
      below += bits;
    }
  }
}

// Returns the sum of `count` activations, a multiple of 16. 128 times it corrects products with code - 128.
inline int32_t sum_acts(const int8_t* q, int64_t count) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int64_t i = 0; i < count; i += 16) sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(q + i)));
  return vaddvq_s32(sum);
}

inline void add_rows(int32_t* acc, int part, int32x4_t sums) {
  vst1q_s32(acc + part * 4, vaddq_s32(vld1q_s32(acc + part * 4), sums));
}

// Multiplies two columns of 16 rows of halves by kTokens; multiplication and addition are never fused.
template <int kTokens>
inline void add_halves(const uint8_t* line, const float* x, int64_t k, int columns,
                       float32x4_t (*acc)[kParts]) {
  uint16x8x2_t rows[2];  // [rows / 8].val[column]
  for (int h = 0; h < 2; ++h) {
    const uint16x8_t a = vreinterpretq_u16_u8(load_part(line, h * 2));
    const uint16x8_t b = vreinterpretq_u16_u8(load_part(line, h * 2 + 1));
    rows[h] = vuzpq_u16(a, b);
  }
  for (int column = 0; column < columns; ++column) {
    float32x4_t weights[kParts];
    for (int h = 0; h < 2; ++h) {
      const float16x8_t halves = vreinterpretq_f16_u16(rows[h].val[column]);
      weights[h * 2] = vcvt_f32_f16(vget_low_f16(halves));
      weights[h * 2 + 1] = vcvt_high_f32_f16(halves);
    }
    for (int t = 0; t < kTokens; ++t) {
      const float32x4_t value = vdupq_n_f32(x[t * k + column]);
      for (int part = 0; part < kParts; ++part) {
        acc[t][part] = vaddq_f32(acc[t][part], vmulq_f32(weights[part], value));
      }
    }
  }
}

template <int kTokens>
void multiply_half_tokens(const uint8_t* lines, const float* x, int64_t k, float* out) {
  float32x4_t acc[kTokens][kParts];
  for (int t = 0; t < kTokens; ++t) {
    for (int part = 0; part < kParts; ++part) acc[t][part] = vdupq_n_f32(0.0f);
  }
  int64_t column = 0;
  for (; column + 2 <= k; column += 2, lines += 64) {
    prefetch(lines);
    add_halves<kTokens>(lines, x + column, k, 2, acc);
  }
  if (column < k) add_halves<kTokens>(lines, x + column, k, 1, acc);
  for (int t = 0; t < kTokens; ++t) {
    for (int part = 0; part < kParts; ++part) vst1q_f32(out + t * kRows + part * 4, acc[t][part]);
  }
}

// The primitives that need no more than ARMv8.0.
struct NeonBase : Portable {
  // Base 3 takes 3.4 vector instructions for 16 weights (widening multiplications and look-ups), 2-bit codes
  // two: by llvm-mca 124 and 63 cycles for 1000 weights on a Cortex-A76. So base 3 is faster only where a
  // core gets less than 5 GB/s from memory.
  static constexpr bool kRunsBase3 = false;

  static void gemm_fp16(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) multiply_half_tokens<4>(lines, x + t * k, k, acc + t * kRows);
    for (; t < tokens; ++t) multiply_half_tokens<1>(lines, x + t * k, k, acc + t * kRows);
  }
};

// Unpacks a tile to one byte per code, in lines of 16 rows x 4 columns.
template <Encoding kEncoding>
const uint8_t* unpack_lines(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
  uint8_t* out = buffer;
  for (int64_t column = 0; column < columns; column += 32, out += 512) {
    for (int part = 0; part < kParts; ++part) {
      uint8x16_t codes[8];
      unpack_part<kEncoding, true>(lines, part, codes);
      for (int quad = 0; quad < 8; ++quad) vst1q_u8(out + quad * 64 + part * 16, codes[quad]);
    }
    lines += bytes_of_group(kEncoding);
  }
  return buffer;
}

}  // namespace
}  // namespace edge
