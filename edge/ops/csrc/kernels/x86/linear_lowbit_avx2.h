// The inner loops of AVX2. Two ymm registers hold a line of 16 rows: a 32-bit lane is four codes of one row,
// and four activations are broadcast to all lanes, so there are no horizontal sums.
//
// Up to 4 code bits, vpmaddubsw adds two products of an unsigned code and a signed activation into int16.
// Sums stay in int16 while they are sure to fit, then vpmaddwd widens them. Codes are masked but not shifted
// down to bit 0: each shift has its own sum, which is shifted once at the end. With 8 code bits two products,
// 2 * 255 * 127, exceed int16, so codes are widened to 16 bits first and vpmaddwd sums into int32.
#pragma once

#include <immintrin.h>

#include "kernels/generic/tile_sums_generic.h"

namespace edge {
namespace {

// Prefetch distance. On Zen 3, 4 KiB reaches 0.9 of the speed of a pure read loop, no prefetch 0.7. An
// address beyond the table is harmless.
constexpr int64_t kPrefetchBytes = 4096;

inline void prefetch(const uint8_t* line) {
  _mm_prefetch(reinterpret_cast<const char*>(line) + kPrefetchBytes, _MM_HINT_T0);
}

inline __m256i load(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

inline __m256i broadcast_quad(const int8_t* q) {
  int32_t quad;
  std::memcpy(&quad, q, sizeof(quad));
  return _mm256_set1_epi32(quad);
}

inline __m256i mask8(int value) {
  return _mm256_set1_epi8(static_cast<char>(value));
}

// Sums of a line: half[0] has rows 0 to 7, half[1] rows 8 to 15.
struct Sums {
  __m256i half[2];
};

// For tile_sums_generic.h.
struct Avx2Sums {
  using Ints = Sums;
  static Ints load_ints(const int32_t* acc) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(acc);
    return {{load(bytes), load(bytes + 32)}};
  }
  static void store(const Ints& sums, int32_t* out) {
    for (int h = 0; h < 2; ++h) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + h * 8), sums.half[h]);
  }
};

inline Sums zero() {
  return {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}

// The empty asm statements keep the compiler from computing all products of a loop before adding them, which
// would run out of registers and spill sums to the stack.
inline void add(Sums* sums, __m256i codes0, __m256i codes1, __m256i acts) {
  sums->half[0] = _mm256_add_epi16(sums->half[0], _mm256_maddubs_epi16(codes0, acts));
  __asm__ volatile("" : "+x"(sums->half[0]));
  sums->half[1] = _mm256_add_epi16(sums->half[1], _mm256_maddubs_epi16(codes1, acts));
  __asm__ volatile("" : "+x"(sums->half[1]));
}

// Adds weight * sums, widened to int32, to acc.
inline void widen(Sums* acc, const Sums& sums, int weight) {
  const __m256i weights = _mm256_set1_epi16(static_cast<int16_t>(weight));
  for (int h = 0; h < 2; ++h) {
    acc->half[h] = _mm256_add_epi32(acc->half[h], _mm256_madd_epi16(sums.half[h], weights));
  }
}

inline void store(const Sums& acc, int shift, int32_t* out) {
  for (int h = 0; h < 2; ++h) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + h * 8), _mm256_srai_epi32(acc.half[h], shift));
  }
}

// Number of lines whose sums fit int16: a line adds `terms` pairs of products, each at most 2 * largest *
// 127.
constexpr int64_t lines_per_flush(int terms, int largest) {
  return INT16_MAX / (terms * largest * 127 * 2);
}

// 2 bits, 16 columns a line: positions 0 and 2 have weight 1, positions 1 and 3 weight 4.
inline void gemv_bits2(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = lines_per_flush(2, 12);
  const __m256i low = mask8(0x03), high = mask8(0x0c);
  Sums acc = zero();
  for (const uint8_t* const end = lines + k_padded * 4; lines < end;) {
    Sums ones = zero(), fours = zero();
    const uint8_t* const stop = end - lines > kFlush * 64 ? lines + kFlush * 64 : end;
    for (; lines < stop; lines += 64, q += 16) {
      prefetch(lines);
      const __m256i a = load(lines), b = load(lines + 32);
      const __m256i a4 = _mm256_srli_epi16(a, 4), b4 = _mm256_srli_epi16(b, 4);
      add(&ones, _mm256_and_si256(a, low), _mm256_and_si256(b, low), broadcast_quad(q));
      add(&fours, _mm256_and_si256(a, high), _mm256_and_si256(b, high), broadcast_quad(q + 4));
      add(&ones, _mm256_and_si256(a4, low), _mm256_and_si256(b4, low), broadcast_quad(q + 8));
      add(&fours, _mm256_and_si256(a4, high), _mm256_and_si256(b4, high), broadcast_quad(q + 12));
    }
    widen(&acc, ones, 4);
    widen(&acc, fours, 1);
  }
  store(acc, 2, out);  // these sums are multiples of 4, so the shift is exact
}

// 1 bit, 32 columns a line: positions p and p + 4 have weight 2^p.
inline void gemv_bits1(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = lines_per_flush(2, 8);
  Sums acc = zero();
  for (const uint8_t* const end = lines + k_padded * 2; lines < end;) {
    Sums sums[4] = {zero(), zero(), zero(), zero()};
    const uint8_t* const stop = end - lines > kFlush * 64 ? lines + kFlush * 64 : end;
    for (; lines < stop; lines += 64, q += 32) {
      prefetch(lines);
      const __m256i a = load(lines), b = load(lines + 32);
      const __m256i a4 = _mm256_srli_epi16(a, 4), b4 = _mm256_srli_epi16(b, 4);
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        const __m256i bit = mask8(1 << p);
        add(&sums[p], _mm256_and_si256(a, bit), _mm256_and_si256(b, bit), broadcast_quad(q + 4 * p));
        add(&sums[p], _mm256_and_si256(a4, bit), _mm256_and_si256(b4, bit), broadcast_quad(q + 16 + 4 * p));
      }
    }
    for (int p = 0; p < 4; ++p) widen(&acc, sums[p], 8 >> p);
  }
  store(acc, 3, out);
}

// The byte that joins the spare bits of a 3-bit group's lines (layout.h): bits 2 to 4 and bits 5 to 7 are
// codes.
inline __m256i join_spare(const __m256i* line) {
  const __m256i top = mask8(0xc0);
  const __m256i second = _mm256_srli_epi16(_mm256_and_si256(line[1], top), 2);
  const __m256i third = _mm256_srli_epi16(_mm256_and_si256(line[2], top), 4);
  return _mm256_or_si256(_mm256_and_si256(line[0], top), _mm256_or_si256(second, third));
}

// 3 bits: a group of 32 columns is three lines. Int16 has no room for codes that are not shifted down.
inline void gemv_bits3(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = lines_per_flush(8, 7);  // groups
  const __m256i low = mask8(0x07);
  Sums acc = zero();
  for (const uint8_t* const end = lines + k_padded * 6; lines < end;) {
    Sums sums = zero();
    const auto add_codes = [&](__m256i a, __m256i b, const int8_t* acts) {
      add(&sums, _mm256_and_si256(a, low), _mm256_and_si256(b, low), broadcast_quad(acts));
    };
    const uint8_t* const stop = end - lines > kFlush * 192 ? lines + kFlush * 192 : end;
    for (; lines < stop; lines += 192, q += 32) {
      for (int line = 0; line < 3; ++line) prefetch(lines + line * 64);
      __m256i left[3], right[3];
#pragma GCC unroll 3
      for (int l = 0; l < 3; ++l) {
        left[l] = load(lines + 64 * l);
        right[l] = load(lines + 64 * l + 32);
        add_codes(left[l], right[l], q + 8 * l);
        add_codes(_mm256_srli_epi16(left[l], 3), _mm256_srli_epi16(right[l], 3), q + 8 * l + 4);
      }
      const __m256i a = join_spare(left), b = join_spare(right);
      add_codes(_mm256_srli_epi16(a, 2), _mm256_srli_epi16(b, 2), q + 24);
      add_codes(_mm256_srli_epi16(a, 5), _mm256_srli_epi16(b, 5), q + 28);
    }
    widen(&acc, sums, 1);
  }
  store(acc, 0, out);
}

// 4 bits, 8 columns a line.
inline void gemv_bits4(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* out) {
  constexpr int64_t kFlush = lines_per_flush(2, 15);
  const __m256i low = mask8(0x0f);
  Sums acc = zero();
  for (const uint8_t* const end = lines + k_padded * 8; lines < end;) {
    Sums sums = zero();
    const uint8_t* const stop = end - lines > kFlush * 64 ? lines + kFlush * 64 : end;
    for (; lines < stop; lines += 64, q += 8) {
      prefetch(lines);
      const __m256i a = load(lines), b = load(lines + 32);
      const __m256i a4 = _mm256_srli_epi16(a, 4), b4 = _mm256_srli_epi16(b, 4);
      add(&sums, _mm256_and_si256(a, low), _mm256_and_si256(b, low), broadcast_quad(q));
      add(&sums, _mm256_and_si256(a4, low), _mm256_and_si256(b4, low), broadcast_quad(q + 4));
    }
    widen(&acc, sums, 1);
  }
  store(acc, 0, out);
}

// Four bytes, codes or activations, as even and odd int16.
struct Widened {
  __m256i even, odd;
};

inline Widened widen_codes(__m256i codes) {
  return {_mm256_and_si256(codes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(codes, 8)};
}

inline Widened widen_acts(const int8_t* q) {
  const __m256i acts = broadcast_quad(q);
  return {_mm256_srai_epi16(_mm256_slli_epi16(acts, 8), 8), _mm256_srai_epi16(acts, 8)};
}

inline __m256i multiply_widened(const Widened& codes, const Widened& acts) {
  return _mm256_add_epi32(_mm256_madd_epi16(codes.even, acts.even), _mm256_madd_epi16(codes.odd, acts.odd));
}

// Multiplies kTokens, from `token` on, by one-byte codes; `q` is the first token's.
template <int kTokens, class Into>
void gemm_bytes(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t token,
                const Into& where) {
  Sums sums[kTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) sums[t] = where.start(token + t);
  for (int64_t column = 0; column < columns; column += 4, tile += 64) {
    if (kTokens == 1) prefetch(tile);
    const Widened codes[2] = {widen_codes(load(tile)), widen_codes(load(tile + 32))};
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const Widened acts = widen_acts(q + t * q_stride + column);
      for (int h = 0; h < 2; ++h) {
        sums[t].half[h] = _mm256_add_epi32(sums[t].half[h], multiply_widened(codes[h], acts));
      }
    }
  }
  const Into into = where;  // a copy may stay in registers
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) into.finish(token + t, sums[t]);
}

// The same by an unpacked tile of codes up to kLargest. Not inlined: in a larger function GCC keeps the sums
// in memory, at half the speed.
template <int kLargest, int kTokens, class Into>
__attribute__((noinline)) void gemm_tile(const uint8_t* tile, int64_t columns, const int8_t* q,
                                         int64_t q_stride, int64_t token, const Into& where) {
  constexpr int64_t kFlush = lines_per_flush(1, kLargest);
  Sums wide[kTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) wide[t] = where.start(token + t);
  for (const uint8_t* const end = tile + columns * 16; tile < end;) {
    Sums sums[kTokens];
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) sums[t] = zero();
    const uint8_t* const stop = end - tile > kFlush * 64 ? tile + kFlush * 64 : end;
    for (; tile < stop; tile += 64, q += 4) {
      const __m256i a = load(tile), b = load(tile + 32);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) add(&sums[t], a, b, broadcast_quad(q + t * q_stride));
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) widen(&wide[t], sums[t], 1);
  }
  const Into into = where;
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) into.finish(token + t, wide[t]);
}

}  // namespace
}  // namespace edge
