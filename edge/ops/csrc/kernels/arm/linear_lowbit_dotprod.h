// Decode with a dot product of four bytes (sdot, usdot). It sums four products of a 32-bit lane, which is
// four codes of one row, and takes the four activations from a lane of a register of sixteen, so
// activations need no broadcasts and sums no folding.
//
// A vector unit that starts two instructions a cycle does 16 weights a cycle if a code costs one
// instruction to extract beside its dot product. So codes are not shifted down: a mask leaves
// code << shift, which has sums of its own, and those are shifted down once. All sums fit int32, as the
// static_asserts below check.
#pragma once

#include "kernels/arm/primitives_neon.h"

namespace edge {
namespace {

constexpr int64_t kLargestColumns = 65536;
static_assert(kLargestColumns * 255 * 127 <= INT32_MAX, "8-bit sums");
static_assert(kLargestColumns * 0x38 * 127 <= INT32_MAX, "shifted codes, even if every column had them");

// Loops over its parts are unrolled by pragma: else GCC moves the sums through memory.
struct DotSums {
  int32x4_t part[kParts];
};

inline void clear(DotSums* sums) {
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) sums->part[part] = vdupq_n_s32(0);
}

inline void store_sums(const DotSums& sums, int32_t* out) {
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) vst1q_s32(out + part * 4, sums.part[part]);
}

// sums += more >> shift; `more` are multiples of 1 << shift.
inline void add_shifted(DotSums* sums, const DotSums& more, int shift) {
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    sums->part[part] = vaddq_s32(sums->part[part], vshlq_s32(more.part[part], vdupq_n_s32(-shift)));
  }
}

// Dot::add<lane>(sums, codes, acts): sums + codes * acts[4 lane .. 4 lane + 3], for codes up to 127, and
// up to 255 where Dot::kUnsigned.
template <class Dot, int kLane>
inline void add(DotSums* sums, int part, uint8x16_t codes, int8x16_t acts) {
  sums->part[part] = Dot::template add<kLane>(sums->part[part], codes, acts);
}

// The same for four columns of all rows, whose codes codes_of(part) extracts. One part follows the other, so
// that no product waits for the one before it; and quads are kept apart, so that a few registers do.
template <class Dot, int kLane, class CodesOf>
inline void add_quad(DotSums* sums, int8x16_t acts, CodesOf codes_of) {
  keep_parts_apart();
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) add<Dot, kLane>(sums, part, codes_of(part), acts);
}

// The 64 bytes of a line.
struct Line {
  uint8x16_t part[kParts];
};

inline Line load_line(const uint8_t* line) {
  Line loaded;
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) loaded.part[part] = load_part(line, part);
  return loaded;
}

// Multiplies bytes of 0 and -1.
struct MinusDot {
  template <int kLane>
  static int32x4_t add(int32x4_t sums, uint8x16_t minus, int8x16_t acts) {
    return vdotq_laneq_s32(sums, vreinterpretq_s8_u8(minus), acts, kLane);
  }
};

template <int kBit>
inline void add_bit(DotSums* sums, const Line& x, int8x16_t acts) {
  const uint8x16_t mask = vdupq_n_u8(1 << kBit);
  add_quad<MinusDot, kBit % 4>(sums, acts, [&](int part) { return vtstq_u8(x.part[part], mask); });
}

// 1 bit, 32 columns a line. A comparison makes any bit -1, so no bit needs sums of its own.
template <class Dot>
void gemv_bits1(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  DotSums sums;
  clear(&sums);
  for (const uint8_t* const end = lines + k_padded * 2; lines < end; lines += 64, q += 32) {
    prefetch(lines);
    const int8x16_t acts = vld1q_s8(q), acts4 = vld1q_s8(q + 16);
    const Line x = load_line(lines);
    add_bit<0>(&sums, x, acts);
    add_bit<1>(&sums, x, acts);
    add_bit<2>(&sums, x, acts);
    add_bit<3>(&sums, x, acts);
    add_bit<4>(&sums, x, acts4);
    add_bit<5>(&sums, x, acts4);
    add_bit<6>(&sums, x, acts4);
    add_bit<7>(&sums, x, acts4);
  }
#pragma GCC unroll 4
  for (auto& part : sums.part) part = vnegq_s32(part);
  store_sums(sums, out);
}

// 2 bits, 16 columns a line: position 1 at weight 4, position 2 at weight 16.
template <class Dot>
void gemv_bits2(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  DotSums ones, fours, sixteens;
  clear(&ones);
  clear(&fours);
  clear(&sixteens);
  const uint8x16_t mask0 = vdupq_n_u8(0x03), mask1 = vdupq_n_u8(0x0c), mask2 = vdupq_n_u8(0x30);
  for (const uint8_t* const end = lines + k_padded * 4; lines < end; lines += 64, q += 16) {
    prefetch(lines);
    const int8x16_t acts = vld1q_s8(q);
    const Line x = load_line(lines);
    add_quad<Dot, 0>(&ones, acts, [&](int part) { return vandq_u8(x.part[part], mask0); });
    add_quad<Dot, 1>(&fours, acts, [&](int part) { return vandq_u8(x.part[part], mask1); });
    add_quad<Dot, 2>(&sixteens, acts, [&](int part) { return vandq_u8(x.part[part], mask2); });
    add_quad<Dot, 3>(&ones, acts, [&](int part) { return vshrq_n_u8(x.part[part], 6); });
  }
  add_shifted(&ones, fours, 2);
  add_shifted(&ones, sixteens, 4);
  store_sums(ones, out);
}

// 3 bits, a group of 32 columns: codes at weights 1 and 8, and the two of the spare bits at 4 and 1.
template <class Dot>
void gemv_bits3(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  DotSums ones, eights, fours;
  clear(&ones);
  clear(&eights);
  clear(&fours);
  const uint8x16_t low = vdupq_n_u8(0x07), high = vdupq_n_u8(0x38), middle = vdupq_n_u8(0x1c);
  for (const uint8_t* const end = lines + k_padded * 6; lines < end; lines += 192, q += 32) {
    for (int line = 0; line < 3; ++line) prefetch(lines + line * 64);
    const int8x16_t acts = vld1q_s8(q), acts4 = vld1q_s8(q + 16);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      keep_parts_apart();
      const uint8x16_t x = load_part(lines, part), y = load_part(lines + 64, part);
      const uint8x16_t z = load_part(lines + 128, part), spare = join_spare(x, y, z);
      add<Dot, 0>(&ones, part, vandq_u8(x, low), acts);
      add<Dot, 1>(&eights, part, vandq_u8(x, high), acts);
      add<Dot, 2>(&ones, part, vandq_u8(y, low), acts);
      add<Dot, 3>(&eights, part, vandq_u8(y, high), acts);
      add<Dot, 0>(&ones, part, vandq_u8(z, low), acts4);
      add<Dot, 1>(&eights, part, vandq_u8(z, high), acts4);
      add<Dot, 2>(&fours, part, vandq_u8(spare, middle), acts4);
      add<Dot, 3>(&ones, part, vshrq_n_u8(spare, 5), acts4);
    }
  }
  add_shifted(&ones, eights, 3);
  add_shifted(&ones, fours, 2);
  store_sums(ones, out);
}

// 4 bits, 8 columns a line, two lines a step. There are two sets of sums, so that consecutive dot products
// do not wait for each other.
template <class Dot>
void gemv_bits4(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  DotSums low_sums, high_sums;
  clear(&low_sums);
  clear(&high_sums);
  const uint8x16_t low = vdupq_n_u8(0x0f);
  for (const uint8_t* const end = lines + k_padded * 8; lines < end; lines += 128, q += 16) {
    prefetch(lines);
    prefetch(lines + 64);
    const int8x16_t acts = vld1q_s8(q);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const uint8x16_t x = load_part(lines, part), y = load_part(lines + 64, part);
      add<Dot, 0>(&low_sums, part, vandq_u8(x, low), acts);
      add<Dot, 1>(&high_sums, part, vshrq_n_u8(x, 4), acts);
      add<Dot, 2>(&low_sums, part, vandq_u8(y, low), acts);
      add<Dot, 3>(&high_sums, part, vshrq_n_u8(y, 4), acts);
    }
  }
  add_shifted(&low_sums, high_sums, 0);
  store_sums(low_sums, out);
}

// 8 bits, 4 columns a line, four lines a step. Signed dot products take code - 128; to make up
// for that, sums start at 128 times the sum of the activations.
template <class Dot>
void gemv_bits8(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  DotSums even, odd;
  clear(&odd);
  const int32_t correction = Dot::kUnsigned ? 0 : 128 * sum_acts(q, k_padded);
  for (int part = 0; part < kParts; ++part) even.part[part] = vdupq_n_s32(correction);
  const uint8x16_t flip = vdupq_n_u8(Dot::kUnsigned ? 0 : 0x80);
  for (const uint8_t* const end = lines + k_padded * 16; lines < end; lines += 256, q += 16) {
    for (int line = 0; line < 4; ++line) prefetch(lines + line * 64);
    const int8x16_t acts = vld1q_s8(q);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      add<Dot, 0>(&even, part, veorq_u8(load_part(lines, part), flip), acts);
      add<Dot, 1>(&odd, part, veorq_u8(load_part(lines + 64, part), flip), acts);
      add<Dot, 2>(&even, part, veorq_u8(load_part(lines + 128, part), flip), acts);
      add<Dot, 3>(&odd, part, veorq_u8(load_part(lines + 192, part), flip), acts);
    }
  }
  add_shifted(&even, odd, 0);
  store_sums(even, out);
}

template <class Dot, Encoding kEncoding>
void gemv_dot(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
  if constexpr (kEncoding == Encoding::kBits1) {
    gemv_bits1<Dot>(lines, k_padded, q, acc);
  } else if constexpr (kEncoding == Encoding::kBits2) {
    gemv_bits2<Dot>(lines, k_padded, q, acc);
  } else if constexpr (kEncoding == Encoding::kBits3) {
    gemv_bits3<Dot>(lines, k_padded, q, acc);
  } else if constexpr (kEncoding == Encoding::kBits4) {
    gemv_bits4<Dot>(lines, k_padded, q, acc);
  } else {
    static_assert(kEncoding == Encoding::kBits8);
    gemv_bits8<Dot>(lines, k_padded, q, acc);
  }
}

}  // namespace
}  // namespace edge
