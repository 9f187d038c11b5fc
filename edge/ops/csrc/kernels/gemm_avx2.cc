// AVX2. A 32-bit lane is four codes of one row, so two ymm registers hold a line of 16 rows and
// four activations are broadcast to meet them; no horizontal sums.
//
// Up to 4 code bits: vpmaddubsw adds two products of an unsigned code and a signed activation into
// int16. Sums stay in int16 for kQuadsPerFlush quads of k, then vpmaddwd widens them to int32. The
// static_assert bounds it, so nothing ever saturates.
// 8 code bits: two products, 2 * 255 * 127, exceed int16, so even and odd codes are widened to
// 16 bits first and vpmaddwd sums straight into int32.
#include <immintrin.h>

#include <cstring>

#include "cpu_features.h"
#include "gemm.h"

namespace edge {
namespace {

constexpr int kQuadsPerGroup = 8;  // a group is 32 columns
constexpr int64_t kGroupColumnsAvx2 = 32;

__m256i load(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

__m256i broadcast_quad(const int8_t* q) {
  int32_t quad;
  std::memcpy(&quad, q, sizeof(quad));
  return _mm256_set1_epi32(quad);
}

// The codes of quad `quad` of a group for one half of the rows. Shifts move bits across bytes
// inside their 16-bit lanes; the mask removes them.
template <int kBits>
__m256i codes_of_quad(const uint8_t* group, int quad, int half) {
  constexpr int kPositions = 8 / kBits;
  const __m256i line = load(group + quad / kPositions * 64 + half * 32);
  const __m256i mask = _mm256_set1_epi8(static_cast<char>((1 << kBits) - 1));
  return _mm256_and_si256(_mm256_srli_epi16(line, quad % kPositions * kBits), mask);
}

template <>
__m256i codes_of_quad<3>(const uint8_t* group, int quad, int half) {
  const __m256i low = codes_of_quad<2>(group, quad, half);
  const __m256i line = load(group + 2 * 64 + half * 32);
  const __m256i top = quad < 2 ? _mm256_slli_epi16(line, 2 - quad) : _mm256_srli_epi16(line, quad - 2);
  return _mm256_or_si256(low, _mm256_and_si256(top, _mm256_set1_epi8(4)));
}

// How many groups of 32 columns may be summed in int16 before widening.
template <int kBits>
constexpr int groups_per_flush() {
  return kBits == 1 ? 16 : kBits == 2 ? 4 : kBits == 3 ? 2 : 1;
}

// Adds up to groups_per_flush groups for kTokens tokens; acc is int32 [token][half].
template <int kBits, int kTokens>
void add_groups(const uint8_t* lines, int64_t groups, const int8_t* q, int64_t q_stride,
                __m256i acc[kTokens][2]) {
  constexpr int kQuadsPerFlush = groups_per_flush<kBits>() * kQuadsPerGroup;
  static_assert(kQuadsPerFlush * 2 * ((1 << kBits) - 1) * 127 <= INT16_MAX, "int16 sums would saturate");
  __m256i sums[kTokens][2];
  for (int t = 0; t < kTokens; ++t) sums[t][0] = sums[t][1] = _mm256_setzero_si256();
  for (int64_t group = 0; group < groups; ++group, lines += kBits * 64, q += kGroupColumnsAvx2) {
#pragma GCC unroll 8
    for (int quad = 0; quad < kQuadsPerGroup; ++quad) {
      const __m256i codes0 = codes_of_quad<kBits>(lines, quad, 0);
      const __m256i codes1 = codes_of_quad<kBits>(lines, quad, 1);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const __m256i acts = broadcast_quad(q + t * q_stride + quad * 4);
        sums[t][0] = _mm256_add_epi16(sums[t][0], _mm256_maddubs_epi16(codes0, acts));
        sums[t][1] = _mm256_add_epi16(sums[t][1], _mm256_maddubs_epi16(codes1, acts));
      }
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  for (int t = 0; t < kTokens; ++t) {
    for (int half = 0; half < 2; ++half) {
      acc[t][half] = _mm256_add_epi32(acc[t][half], _mm256_madd_epi16(sums[t][half], ones));
    }
  }
}

template <int kTokens>
void add_bytes(const uint8_t* lines, int64_t quads, const int8_t* q, int64_t q_stride,
               __m256i acc[kTokens][2]) {
  const __m256i low_bytes = _mm256_set1_epi16(0xff);
  for (int64_t quad = 0; quad < quads; ++quad, lines += 64, q += 4) {
    const __m256i codes0 = load(lines), codes1 = load(lines + 32);
    const __m256i even0 = _mm256_and_si256(codes0, low_bytes), odd0 = _mm256_srli_epi16(codes0, 8);
    const __m256i even1 = _mm256_and_si256(codes1, low_bytes), odd1 = _mm256_srli_epi16(codes1, 8);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256i acts = broadcast_quad(q + t * q_stride);
      const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(acts, 8), 8);
      const __m256i odd = _mm256_srai_epi16(acts, 8);
      const __m256i sum0 = _mm256_add_epi32(_mm256_madd_epi16(even0, even), _mm256_madd_epi16(odd0, odd));
      const __m256i sum1 = _mm256_add_epi32(_mm256_madd_epi16(even1, even), _mm256_madd_epi16(odd1, odd));
      acc[t][0] = _mm256_add_epi32(acc[t][0], sum0);
      acc[t][1] = _mm256_add_epi32(acc[t][1], sum1);
    }
  }
}

template <int kBits, int kTokens>
void multiply_tile(const BlockCodes& block, const int8_t* q, int64_t q_stride, int32_t* out) {
  __m256i acc[kTokens][2];
  for (int t = 0; t < kTokens; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_si256();
  if constexpr (kBits == 8) {
    add_bytes<kTokens>(block.lines, block.k_padded / 4, q, q_stride, acc);
  } else {
    constexpr int64_t kGroups = groups_per_flush<kBits>();
    const int64_t groups = block.k_padded / kGroupColumnsAvx2;
    for (int64_t group = 0; group < groups; group += kGroups) {
      const int64_t count = groups - group < kGroups ? groups - group : kGroups;
      add_groups<kBits, kTokens>(block.lines + group * kBits * 64, count, q + group * kGroupColumnsAvx2,
                                 q_stride, acc);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int half = 0; half < 2; ++half) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + t * 16 + half * 8), acc[t][half]);
    }
  }
}

template <int kBits>
void multiply(const BlockCodes& block, const int8_t* q, int64_t q_stride, int64_t tokens, int32_t* acc) {
  int64_t token = 0;
  for (; token + 4 <= tokens; token += 4) {
    multiply_tile<kBits, 4>(block, q + token * q_stride, q_stride, acc + token * 16);
  }
  for (; token < tokens; ++token) {
    multiply_tile<kBits, 1>(block, q + token * q_stride, q_stride, acc + token * 16);
  }
}

void codes(const BlockCodes& block, const int8_t* q, int64_t q_stride, int64_t tokens, int32_t* acc) {
  switch (block.code_bits) {
    case 1:
      return multiply<1>(block, q, q_stride, tokens, acc);
    case 2:
      return multiply<2>(block, q, q_stride, tokens, acc);
    case 3:
      return multiply<3>(block, q, q_stride, tokens, acc);
    case 4:
      return multiply<4>(block, q, q_stride, tokens, acc);
    default:
      return multiply<8>(block, q, q_stride, tokens, acc);
  }
}

// One column of 16 rows: the halves of an even (0) or odd (1) column, as two registers of floats.
void load_halves(const uint8_t* line, int64_t odd, __m256 weights[2]) {
  for (int half = 0; half < 2; ++half) {
    __m256i lanes = load(line + half * 32);  // 8 rows x (even, odd)
    lanes = odd ? _mm256_srli_epi32(lanes, 16) : _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(lanes, lanes), 0x08);
    weights[half] = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
}

// Multiply, then add: a fused operation would round differently from the other kernels.
template <int kTokens>
void multiply_halves(const BlockCodes& block, const float* x, int64_t x_stride, int64_t columns, float* out) {
  __m256 acc[kTokens][2];
  for (int t = 0; t < kTokens; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
  for (int64_t column = 0; column < columns; ++column) {
    __m256 weights[2];
    load_halves(block.lines + column / 2 * 64, column % 2, weights);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256 value = _mm256_set1_ps(x[t * x_stride + column]);
      acc[t][0] = _mm256_add_ps(acc[t][0], _mm256_mul_ps(weights[0], value));
      acc[t][1] = _mm256_add_ps(acc[t][1], _mm256_mul_ps(weights[1], value));
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    _mm256_storeu_ps(out + t * 16, acc[t][0]);
    _mm256_storeu_ps(out + t * 16 + 8, acc[t][1]);
  }
}

void halves(const BlockCodes& block, const float* x, int64_t x_stride, int64_t columns, int64_t tokens,
            float* acc) {
  int64_t token = 0;
  for (; token + 4 <= tokens; token += 4) {
    multiply_halves<4>(block, x + token * x_stride, x_stride, columns, acc + token * 16);
  }
  for (; token < tokens; ++token) {
    multiply_halves<1>(block, x + token * x_stride, x_stride, columns, acc + token * 16);
  }
}

bool supported() {
  return cpu_features().avx2;
}

}  // namespace

const GemmKernel kGemmAvx2 = {"avx2", supported, codes, halves};

}  // namespace edge
