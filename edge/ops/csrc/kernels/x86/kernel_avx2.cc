// AVX2, from Haswell and Zen on.
#include "core/cpu_features.h"
#include "kernels/generic/make_kernel.h"
#include "kernels/generic/primitives_generic.h"
#include "kernels/x86/attention_integer_avx2.h"
#include "kernels/x86/linear_lowbit_avx2.h"

namespace edge {
namespace {

// Loads the 16 weights of an even (0) or odd (1) column.
inline void load_halves(const uint8_t* line, int64_t odd, __m256 weights[2]) {
  for (int h = 0; h < 2; ++h) {
    __m256i lanes = load(line + h * 32);  // 8 rows x (even, odd)
    lanes = odd ? _mm256_srli_epi32(lanes, 16) : _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(lanes, lanes), 0x08);
    weights[h] = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
}

// Multiplies, then adds: a fused operation would round differently from the other kernels.
template <int kTokens>
void multiply_half_columns(const uint8_t* lines, const float* x, int64_t k, float* out) {
  __m256 acc[kTokens][2];
  for (int t = 0; t < kTokens; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
  for (int64_t column = 0; column < k; ++column) {
    __m256 weights[2];
    load_halves(lines + column / 2 * 64, column % 2, weights);
    if (column % 2 == 0) prefetch(lines + column / 2 * 64);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const __m256 value = _mm256_set1_ps(x[t * k + column]);
      acc[t][0] = _mm256_add_ps(acc[t][0], _mm256_mul_ps(weights[0], value));
      acc[t][1] = _mm256_add_ps(acc[t][1], _mm256_mul_ps(weights[1], value));
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    _mm256_storeu_ps(out + t * 16, acc[t][0]);
    _mm256_storeu_ps(out + t * 16 + 8, acc[t][1]);
  }
}

struct Avx2 : Portable {
  static constexpr bool kRunsBase3 = false;

  template <int kBits, int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* q_sums, int32_t* scores) {
    Avx2Attention::dot_keys<kBits, kQueries>(keys, blocks, head_dim, q, q_sums, scores);
  }

  template <int kBits, int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    Avx2Attention::weigh_values<kBits, kQueries>(values, quads, head_dim, weights, sums);
  }

  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBits1) {
      gemv_bits1(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits2) {
      gemv_bits2(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits3) {
      gemv_bits3(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits4) {
      gemv_bits4(lines, k_padded, q, acc);
    } else {
      std::memset(acc, 0, kRows * sizeof(int32_t));
      gemm_bytes<1>(lines, k_padded, q, 0, 0, IntoIntegers<Avx2Sums>{acc});
    }
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    gemm_all<kEncoding>(tile, columns, q, q_stride, tokens, IntoIntegers<Avx2Sums>{acc});
  }

  template <class Isa, Encoding kEncoding, class Finish>
  static void gemm_group(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                         int64_t tokens, const Finish& finish) {
    gemm_all<kEncoding>(tile, columns, q, q_stride, tokens, IntoGroup<Avx2Sums, Finish>{finish});
  }

  static void gemm_fp16(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) multiply_half_columns<4>(lines, x + t * k, k, acc + t * kRows);
    for (; t < tokens; ++t) multiply_half_columns<1>(lines, x + t * k, k, acc + t * kRows);
  }

  template <Encoding kEncoding, class Into>
  static void gemm_all(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                       int64_t tokens, const Into& into) {
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      multiply_tile<kEncoding, 4>(tile, columns, q + t * q_stride, q_stride, t, into);
    }
    for (; t < tokens; ++t) multiply_tile<kEncoding, 1>(tile, columns, q + t * q_stride, q_stride, t, into);
  }

  template <Encoding kEncoding, int kTokens, class Into>
  static void multiply_tile(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                            int64_t token, const Into& into) {
    if constexpr (kEncoding == Encoding::kBits8) {
      gemm_bytes<kTokens>(tile, columns, q, q_stride, token, into);
    } else {
      gemm_tile<largest_code(kEncoding), kTokens>(tile, columns, q, q_stride, token, into);
    }
  }
};

bool supported() {
  return cpu_features().avx2;
}

}  // namespace

extern const Kernel kAvx2 = make_kernel<Avx2>("avx2", supported);

}  // namespace edge
