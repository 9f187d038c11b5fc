// Decode and prefill without dot products. smlal adds eight products of signed bytes to eight int16 sums,
// which are widened to int32 before they could overflow. Activations are broadcast four at a time, so
// that a 32-bit lane is four products of one row.
#pragma once

#include "kernels/arm/primitives_neon.h"

namespace edge {
namespace {

constexpr int kActMax = 127;

// Returns the number of steps after which int16 sums must be widened, if one step adds `terms` products of
// at most `largest` * 127 to each.
constexpr int64_t steps_per_flush(int largest, int terms) {
  return INT16_MAX / (largest * kActMax * terms);
}

inline int8x16_t signed_bytes(uint8x16_t codes) {
  return vreinterpretq_s8_u8(codes);
}

// Sums of a part: two rows each.
struct Narrow {
  int16x8_t rows01[kParts], rows23[kParts];
};

struct Wide {
  int32x4_t rows01[kParts], rows23[kParts];
};

inline void clear(Narrow* sums) {
  for (int part = 0; part < kParts; ++part) sums->rows01[part] = sums->rows23[part] = vdupq_n_s16(0);
}

inline void clear(Wide* sums) {
  for (int part = 0; part < kParts; ++part) sums->rows01[part] = sums->rows23[part] = vdupq_n_s32(0);
}

inline void add(Narrow* sums, int part, uint8x16_t codes, int8x16_t acts) {
  sums->rows01[part] = vmlal_s8(sums->rows01[part], vget_low_s8(signed_bytes(codes)), vget_low_s8(acts));
  sums->rows23[part] = vmlal_high_s8(sums->rows23[part], signed_bytes(codes), acts);
}

inline void widen(Wide* wide, const Narrow& sums) {
  for (int part = 0; part < kParts; ++part) {
    wide->rows01[part] = vpadalq_s16(wide->rows01[part], sums.rows01[part]);
    wide->rows23[part] = vpadalq_s16(wide->rows23[part], sums.rows23[part]);
  }
}

// out[row] += the sums of its two lanes.
inline void add_to(const Wide& wide, int32_t* out) {
  for (int part = 0; part < kParts; ++part) {
    add_rows(out, part, vpaddq_s32(wide.rows01[part], wide.rows23[part]));
  }
}

// Returns where the next `steps` steps of `bytes` bytes each end, or `end` if that comes first.
inline const uint8_t* next_stop(const uint8_t* lines, const uint8_t* end, int64_t steps, int64_t bytes) {
  return end - lines > steps * bytes ? lines + steps * bytes : end;
}

// 1 bit, 32 columns a line: a bit becomes a mask, the mask picks activations, and sadalp adds pairs of
// them to int16 sums. Codes are 0 or 1, so this needs no multiplication.
inline void gemv_bits1(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = steps_per_flush(1, 2 * 8);
  int32x4_t wide[kParts];
  for (int part = 0; part < kParts; ++part) wide[part] = vdupq_n_s32(0);
  for (const uint8_t* const end = lines + k_padded * 2; lines < end;) {
    int16x8_t sums[kParts];
    for (int part = 0; part < kParts; ++part) sums[part] = vdupq_n_s16(0);
    for (const uint8_t* const stop = next_stop(lines, end, kFlush, 64); lines < stop; lines += 64, q += 32) {
      prefetch(lines);
      uint8x16_t x[kParts];
      for (int part = 0; part < kParts; ++part) x[part] = load_part(lines, part);
#pragma GCC unroll 8
      for (int quad = 0; quad < 8; ++quad) {
        const int8x16_t acts = broadcast_quad(q + quad * 4);
        const uint8x16_t bit = vdupq_n_u8(static_cast<uint8_t>(1 << quad));
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) {
          const int8x16_t picked = vandq_s8(signed_bytes(vtstq_u8(x[part], bit)), acts);
          sums[part] = vpadalq_s8(sums[part], picked);
        }
      }
    }
    for (int part = 0; part < kParts; ++part) wide[part] = vpadalq_s16(wide[part], sums[part]);
  }
  for (int part = 0; part < kParts; ++part) vst1q_s32(out + part * 4, wide[part]);
}

// 2 bits, 16 columns a line. Position 1 is masked but not shifted; its sum, 4 times too large, is shifted
// when it is added to the others'.
inline void gemv_bits2(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = steps_per_flush(12, 1);
  static_assert(kFlush * (3 * 3 + 3) * kActMax <= INT16_MAX, "both sums joined");
  const uint8x16_t low = vdupq_n_u8(0x03), high = vdupq_n_u8(0x0c);
  Wide wide;
  clear(&wide);
  for (const uint8_t* const end = lines + k_padded * 4; lines < end;) {
    Narrow ones, fours;
    clear(&ones);
    clear(&fours);
    for (const uint8_t* const stop = next_stop(lines, end, kFlush, 64); lines < stop; lines += 64, q += 16) {
      prefetch(lines);
      const int8x16_t acts0 = broadcast_quad(q), acts1 = broadcast_quad(q + 4);
      const int8x16_t acts2 = broadcast_quad(q + 8), acts3 = broadcast_quad(q + 12);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        const uint8x16_t x = load_part(lines, part);
        add(&ones, part, vandq_u8(x, low), acts0);
        add(&fours, part, vandq_u8(x, high), acts1);
        add(&ones, part, vandq_u8(vshrq_n_u8(x, 4), low), acts2);
        add(&ones, part, vshrq_n_u8(x, 6), acts3);
      }
    }
    for (int part = 0; part < kParts; ++part) {
      ones.rows01[part] = vsraq_n_s16(ones.rows01[part], fours.rows01[part], 2);
      ones.rows23[part] = vsraq_n_s16(ones.rows23[part], fours.rows23[part], 2);
    }
    widen(&wide, ones);
  }
  add_to(wide, out);
}

// 3 bits, a group of 32 columns.
inline void gemv_bits3(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = steps_per_flush(7, 8);
  Wide wide;
  clear(&wide);
  for (const uint8_t* const end = lines + k_padded * 6; lines < end;) {
    Narrow sums;
    clear(&sums);
    const uint8_t* const stop = next_stop(lines, end, kFlush, 192);
    for (; lines < stop; lines += 192, q += 32) {
      for (int line = 0; line < 3; ++line) prefetch(lines + line * 64);
      int8x16_t acts[8];
      for (int quad = 0; quad < 8; ++quad) acts[quad] = broadcast_quad(q + quad * 4);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        uint8x16_t codes[8];
        unpack_part<Encoding::kBits3, false>(lines, part, codes);
#pragma GCC unroll 8
        for (int quad = 0; quad < 8; ++quad) add(&sums, part, codes[quad], acts[quad]);
      }
    }
    widen(&wide, sums);
  }
  add_to(wide, out);
}

// 4 bits, 8 columns a line.
inline void gemv_bits4(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = steps_per_flush(15, 2);
  const uint8x16_t low = vdupq_n_u8(0x0f);
  Wide wide;
  clear(&wide);
  for (const uint8_t* const end = lines + k_padded * 8; lines < end;) {
    Narrow sums;
    clear(&sums);
    for (const uint8_t* const stop = next_stop(lines, end, kFlush, 64); lines < stop; lines += 64, q += 8) {
      prefetch(lines);
      const int8x16_t acts0 = broadcast_quad(q), acts1 = broadcast_quad(q + 4);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        const uint8x16_t x = load_part(lines, part);
        add(&sums, part, vandq_u8(x, low), acts0);
        add(&sums, part, vshrq_n_u8(x, 4), acts1);
      }
    }
    widen(&wide, sums);
  }
  add_to(wide, out);
}

// Multiplies one token by a tile of bytes; with kFlip 0x80, bytes are taken as code - 128. A step takes two
// quads of columns, because an int16 sum holds no more than two products of -128 * 127.
template <uint8_t kFlip>
void gemm_bytes(const uint8_t* tile, int64_t columns, const int8_t* q, int32_t* acc) {
  static_assert(2 * 128 * kActMax <= INT16_MAX, "two products of signed bytes");
  const uint8x16_t flips = vdupq_n_u8(kFlip);
  Wide wide;
  clear(&wide);
  for (const uint8_t* const end = tile + columns * 16; tile < end; tile += 128, q += 8) {
    prefetch(tile);
    prefetch(tile + 64);
    const int8x16_t acts0 = broadcast_quad(q), acts1 = broadcast_quad(q + 4);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const int8x16_t x = signed_bytes(veorq_u8(load_part(tile, part), flips));
      const int8x16_t y = signed_bytes(veorq_u8(load_part(tile + 64, part), flips));
      const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(acts0)), high = vmull_high_s8(x, acts0);
      wide.rows01[part] = vpadalq_s16(wide.rows01[part], vmlal_s8(low, vget_low_s8(y), vget_low_s8(acts1)));
      wide.rows23[part] = vpadalq_s16(wide.rows23[part], vmlal_high_s8(high, y, acts1));
    }
  }
  add_to(wide, acc);
}

inline void add_correction(const int8_t* q, int64_t columns, int32_t* acc) {
  const int32x4_t correction = vdupq_n_s32(128 * sum_acts(q, columns));
  for (int part = 0; part < kParts; ++part) add_rows(acc, part, correction);
}

// kTokens against a tile of codes up to kLargest.
template <int kLargest, int kTokens>
void gemm_tile(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int32_t* acc) {
  constexpr int64_t kFlush = steps_per_flush(kLargest, 1);
  Wide wide[kTokens];
  for (int t = 0; t < kTokens; ++t) clear(&wide[t]);
  for (const uint8_t* const end = tile + columns * 16; tile < end;) {
    Narrow sums[kTokens];
    for (int t = 0; t < kTokens; ++t) clear(&sums[t]);
    for (const uint8_t* const stop = next_stop(tile, end, kFlush, 64); tile < stop; tile += 64, q += 4) {
      int8x16_t acts[kTokens];
      for (int t = 0; t < kTokens; ++t) acts[t] = broadcast_quad(q + t * q_stride);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        const uint8x16_t codes = load_part(tile, part);
        for (int t = 0; t < kTokens; ++t) add(&sums[t], part, codes, acts[t]);
      }
    }
    for (int t = 0; t < kTokens; ++t) widen(&wide[t], sums[t]);
  }
  for (int t = 0; t < kTokens; ++t) add_to(wide[t], acc + t * kRows);
}

}  // namespace
}  // namespace edge
