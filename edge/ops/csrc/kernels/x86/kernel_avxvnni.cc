// AVX-VNNI: AVX2 with vpdpbusd, from Alder Lake and Zen 5 on. Two ymm registers hold a line.
#include "core/cpu_features.h"
#include "kernels/generic/make_kernel.h"
#include "kernels/generic/primitives_generic.h"
#include "kernels/x86/attention_integer_vnni.h"
#include "kernels/x86/intrinsics_x86.h"
#include "kernels/x86/linear_lowbit_vnni.h"

namespace edge {
namespace {

struct Ymm {
  struct Bytes {
    __m256i half[2];  // rows 0 to 7, rows 8 to 15
  };
  // Not __m256i: with it GCC 12 copies every sum twice around a vpdpbusd.
  using Eight = int32_t __attribute__((vector_size(32)));
  struct Ints {
    Eight half[2];
    friend Ints operator+(Ints a, Ints b) { return {{a.half[0] + b.half[0], a.half[1] + b.half[1]}}; }
    friend Ints operator<<(Ints a, int bits) { return {{a.half[0] << bits, a.half[1] << bits}}; }
    friend Ints operator>>(Ints a, int bits) { return {{a.half[0] >> bits, a.half[1] >> bits}}; }
  };
  struct Floats {
    __m256 half[2];
  };
  static constexpr int kSums = 6;  // two registers each, of 16
  static constexpr int kSums3 = 1;
  static constexpr int kValueLines = 1;

  static Bytes load(const uint8_t* bytes) {
    const auto* halves = reinterpret_cast<const __m256i*>(bytes);
    return {{_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)}};
  }
  static Bytes mask(Bytes a, int bits) {
    const __m256i bytes = _mm256_set1_epi8(static_cast<char>(bits));
    return {{_mm256_and_si256(a.half[0], bytes), _mm256_and_si256(a.half[1], bytes)}};
  }
  static Bytes add_bytes(Bytes a, Bytes b) {
    return {{_mm256_add_epi8(a.half[0], b.half[0]), _mm256_add_epi8(a.half[1], b.half[1])}};
  }
  // Bytes shifted right by kBits; the highest bits of each are arbitrary.
  template <int kBits>
  static Bytes shift_right(Bytes a) {
    return {{_mm256_srli_epi16(a.half[0], kBits), _mm256_srli_epi16(a.half[1], kBits)}};
  }
  // The bits of kMask from a, the others from b.
  template <int kMask>
  static Bytes join(Bytes a, Bytes b) {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(kMask));
    Bytes joined;
    for (int h = 0; h < 2; ++h) {
      joined.half[h] =
          _mm256_or_si256(_mm256_and_si256(mask, a.half[h]), _mm256_andnot_si256(mask, b.half[h]));
    }
    return joined;
  }

  // The high four bits of each byte, moved down; the four above them are arbitrary.
  static Bytes high_nibbles(Bytes a) {
    return {{_mm256_srli_epi16(a.half[0], 4), _mm256_srli_epi16(a.half[1], 4)}};
  }

  static Bytes flip_top(Bytes a) {
    const __m256i top = _mm256_set1_epi8(-128);
    return {{_mm256_xor_si256(a.half[0], top), _mm256_xor_si256(a.half[1], top)}};
  }

  static Ints broadcast(int32_t value) {
    const Eight eight = (Eight)_mm256_set1_epi32(value);
    return {{eight, eight}};
  }
  static Ints load_ints(const int32_t* values) {
    const Bytes both = load(reinterpret_cast<const uint8_t*>(values));
    return {{(Eight)both.half[0], (Eight)both.half[1]}};
  }
  static void store(Ints a, int32_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), (__m256i)a.half[0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), (__m256i)a.half[1]);
  }
  static Ints dot(Ints sum, Bytes codes, const int8_t* q) {
    int32_t quad;
    std::memcpy(&quad, q, sizeof(quad));
    const __m256i acts = _mm256_set1_epi32(quad);
    return {{(Eight)_mm256_dpbusd_avx_epi32((__m256i)sum.half[0], codes.half[0], acts),
             (Eight)_mm256_dpbusd_avx_epi32((__m256i)sum.half[1], codes.half[1], acts)}};
  }
  // The same with four unsigned values for all lanes and signed bytes.
  static Ints dot_signed(Ints sum, const uint8_t* four, Bytes bytes) {
    int32_t quad;
    std::memcpy(&quad, four, sizeof(quad));
    const __m256i weights = _mm256_set1_epi32(quad);
    return {{(Eight)_mm256_dpbusd_avx_epi32((__m256i)sum.half[0], weights, bytes.half[0]),
             (Eight)_mm256_dpbusd_avx_epi32((__m256i)sum.half[1], weights, bytes.half[1])}};
  }

  static Floats zero_floats() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }
  static void store_floats(Floats a, float* out) {
    _mm256_storeu_ps(out, a.half[0]);
    _mm256_storeu_ps(out + 8, a.half[1]);
  }
  static Floats multiply_add(Floats sum, Floats weights, float x) {
    const __m256 value = _mm256_set1_ps(x);
    return {{_mm256_add_ps(sum.half[0], _mm256_mul_ps(weights.half[0], value)),
             _mm256_add_ps(sum.half[1], _mm256_mul_ps(weights.half[1], value))}};
  }
  // Loads the 16 weights of an even (0) or odd (1) column; a 32-bit lane holds both.
  static Floats load_halves(const uint8_t* line, int64_t odd) {
    const Bytes lanes = load(line);
    Floats weights;
    for (int h = 0; h < 2; ++h) {
      const __m256i one = odd ? _mm256_srli_epi32(lanes.half[h], 16)
                              : _mm256_and_si256(lanes.half[h], _mm256_set1_epi32(0xffff));
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(one, one), 0x08);
      weights.half[h] = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    }
    return weights;
  }
};

struct AvxVnni : VnniAttention<Ymm> {
  // Base 3 would take about 40 operations a line on three ports, longer than loading 2-bit codes from memory.
  static constexpr bool kRunsBase3 = false;

  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBits1) {
      gemv_positions<Ymm, 1, 1, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits2) {
      gemv_positions<Ymm, 2, 1, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits3) {
      gemv_bits3<Ymm, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits4) {
      gemv_positions<Ymm, 4, 2, 1>(lines, 0, k_padded, q, acc);
    } else {
      gemv_positions<Ymm, 8, 4, 1>(lines, 0, k_padded, q, acc);
    }
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    gemm_all<Ymm, 6>(tile, columns, q, q_stride, 0, tokens, IntoIntegers<Ymm>{acc});
  }

  static constexpr int64_t kGroupTokens = 24;
  template <class Isa, Encoding kEncoding, class Finish>
  static void gemm_group(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                         int64_t tokens, const Finish& finish) {
    gemm_all<Ymm, 6>(tile, columns, q, q_stride, 0, tokens, IntoGroup<Ymm, Finish>{finish});
  }

  static void gemm_fp16(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
    gemm_fp16_all<Ymm, 4>(lines, x, k, tokens, acc);
  }
};

bool supported() {
  return cpu_features().avxvnni;
}

}  // namespace

extern const Kernel kAvxVnni = make_kernel<AvxVnni>("avxvnni", supported);

}  // namespace edge
