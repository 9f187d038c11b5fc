// Attention over an int8 cache with AVX2. A ymm register holds 8 positions x 4 elements of K, or 8 elements x
// 4 positions of V; four elements of the query, or the weights of four positions, are broadcast to all lanes.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "core/attention_job.h"

namespace edge {
namespace {

struct Avx2Attention {
  // vpmaddubsw needs an unsigned side: |key| * (q with key's sign). Two products, 2 * 127 * 127, fit int16.
  template <int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* /*q_sums*/, int32_t* scores) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t block = 0; block < blocks; ++block, keys += kKeyBlock * head_dim) {
      __m256i sums[kQueries][2];
      for (int i = 0; i < kQueries; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_si256();
      for (int64_t d = 0; d < head_dim; d += 4) {
        prefetch(keys + d * kKeyBlock + kTile * head_dim);
        const __m256i key[2] = {load(keys + d * kKeyBlock), load(keys + d * kKeyBlock + 32)};
        const __m256i size[2] = {_mm256_abs_epi8(key[0]), _mm256_abs_epi8(key[1])};
#pragma GCC unroll 4
        for (int i = 0; i < kQueries; ++i) {
          const __m256i four = broadcast(q + i * kMaxHeadDim + d);
          for (int half = 0; half < 2; ++half) {
            const __m256i pairs = _mm256_maddubs_epi16(size[half], _mm256_sign_epi8(four, key[half]));
            sums[i][half] = _mm256_add_epi32(sums[i][half], _mm256_madd_epi16(pairs, ones));
          }
        }
      }
      for (int i = 0; i < kQueries; ++i) {
        store(scores + i * kTile + block * kKeyBlock, sums[i][0]);
        store(scores + i * kTile + block * kKeyBlock + 8, sums[i][1]);
      }
    }
  }

  // 16-bit multiply-adds: values are widened once for all queries, even and odd positions separately, and the
  // weights of two even or two odd positions are broadcast.
  template <int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    alignas(32) int16_t pairs[kQueries * kTile];  // per quad: weights 0, 2, 1, 3
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    for (int64_t i = 0; i < kQueries * kTile; i += 16) {
      store(pairs + i, _mm256_shuffle_epi8(load(weights + i), order));
    }
    int64_t d = 0;
    for (; d + 16 <= head_dim; d += 16) {
      weigh_lanes<kQueries, 2>(values + d * 4, quads, head_dim, pairs, sums + d);
    }
    for (; d + 8 <= head_dim; d += 8) {
      weigh_lanes<kQueries, 1>(values + d * 4, quads, head_dim, pairs, sums + d);
    }
    if (d < head_dim) weigh_last_four<kQueries>(values + d * 4, quads, head_dim, pairs, sums + d);
  }

 private:
  // Prefetch the same place of the next tile: a quarter faster over 2048 positions on Zen 3. An address
  // beyond the cache is harmless.
  static void prefetch(const int8_t* line) { _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T0); }

  static __m256i load(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }

  static void store(void* bytes, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(bytes), value); }

  static __m256i broadcast(const void* four_bytes) {
    int32_t four;
    std::memcpy(&four, four_bytes, sizeof(four));
    return _mm256_set1_epi32(four);
  }

  // Handles kRegisters * 8 elements of D.
  template <int kQueries, int kRegisters>
  static void weigh_lanes(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* pairs,
                          int32_t* out) {
    __m256i sums[kQueries][kRegisters];
    for (int i = 0; i < kQueries; ++i) {
      for (int r = 0; r < kRegisters; ++r) sums[i][r] = _mm256_setzero_si256();
    }
    for (int64_t quad = 0; quad < quads; ++quad, values += head_dim * 4, pairs += 4) {
      prefetch(values + kTile * head_dim);
      __m256i even[kRegisters], odd[kRegisters];
      for (int r = 0; r < kRegisters; ++r) {
        const __m256i value = load(values + r * 32);
        even[r] = _mm256_srai_epi16(_mm256_slli_epi16(value, 8), 8);
        odd[r] = _mm256_srai_epi16(value, 8);
      }
#pragma GCC unroll 4
      for (int i = 0; i < kQueries; ++i) {
        const __m256i evens = broadcast(pairs + i * kTile), odds = broadcast(pairs + i * kTile + 2);
        for (int r = 0; r < kRegisters; ++r) {
          sums[i][r] = _mm256_add_epi32(sums[i][r], _mm256_madd_epi16(even[r], evens));
          sums[i][r] = _mm256_add_epi32(sums[i][r], _mm256_madd_epi16(odd[r], odds));
        }
      }
    }
    for (int i = 0; i < kQueries; ++i) {
      for (int r = 0; r < kRegisters; ++r) store(out + i * kMaxHeadDim + r * 8, sums[i][r]);
    }
  }

  template <int kQueries>
  static void weigh_last_four(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* pairs,
                              int32_t* out) {
    for (int i = 0; i < kQueries; ++i) {
      __m128i sums = _mm_setzero_si128();
      for (int64_t quad = 0; quad < quads; ++quad) {
        __m128i value, weights = _mm_setzero_si128();
        std::memcpy(&value, values + quad * head_dim * 4, sizeof(value));
        std::memcpy(&weights, pairs + i * kTile + quad * 4, 8);
        const __m128i even = _mm_srai_epi16(_mm_slli_epi16(value, 8), 8), odd = _mm_srai_epi16(value, 8);
        sums = _mm_add_epi32(sums, _mm_madd_epi16(even, _mm_shuffle_epi32(weights, 0x00)));
        sums = _mm_add_epi32(sums, _mm_madd_epi16(odd, _mm_shuffle_epi32(weights, 0x55)));
      }
      std::memcpy(out + i * kMaxHeadDim, &sums, sizeof(sums));
    }
  }
};

}  // namespace
}  // namespace edge
