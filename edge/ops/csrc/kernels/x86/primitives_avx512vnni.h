// Primitives for AVX-512 with VNNI: one zmm register holds a line.
#pragma once

#include "kernels/generic/primitives_generic.h"
#include "kernels/x86/attention_integer_vnni.h"
#include "kernels/x86/intrinsics_x86.h"
#include "kernels/x86/linear_lowbit_vnni.h"

namespace edge {
namespace {

struct Zmm {
  using Bytes = __m512i;
  // Not __m512i: with it GCC 12 copies every sum twice around a vpdpbusd.
  using Ints = int32_t __attribute__((vector_size(64)));
  using Floats = __m512;
  static constexpr int kSums = 16;  // of 32 registers
  static constexpr int kSums3 = 3;
  static constexpr int kValueLines = 2;

  static Bytes load(const uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
  static Bytes mask(Bytes a, int bits) {
    return _mm512_and_si512(a, _mm512_set1_epi8(static_cast<char>(bits)));
  }
  static Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }
  // Bytes shifted right by kBits; the highest bits of each are arbitrary.
  template <int kBits>
  static Bytes shift_right(Bytes a) {
    return _mm512_srli_epi16(a, kBits);
  }
  // The bits of kMask from a, the others from b.
  template <int kMask>
  static Bytes join(Bytes a, Bytes b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(kMask)), a, b, 0xca);
  }

  // The high four bits of each byte, moved down; the four above them are arbitrary.
  static Bytes high_nibbles(Bytes a) { return _mm512_srli_epi16(a, 4); }

  static Bytes flip_top(Bytes a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }

  static Ints broadcast(int32_t value) { return (Ints)_mm512_set1_epi32(value); }
  static Ints load_ints(const int32_t* values) { return (Ints)_mm512_loadu_si512(values); }
  static void store(Ints a, int32_t* out) { _mm512_storeu_si512(out, (__m512i)a); }
  static Ints dot(Ints sum, Bytes codes, const int8_t* q) {
    int32_t quad;
    std::memcpy(&quad, q, sizeof(quad));
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, codes, _mm512_set1_epi32(quad));
  }
  // The same with four unsigned values for all lanes and signed bytes.
  static Ints dot_signed(Ints sum, const uint8_t* four, Bytes bytes) {
    int32_t quad;
    std::memcpy(&quad, four, sizeof(quad));
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(quad), bytes);
  }

  static Floats zero_floats() { return _mm512_setzero_ps(); }
  static void store_floats(Floats a, float* out) { _mm512_storeu_ps(out, a); }
  static Floats multiply_add(Floats sum, Floats weights, float x) {
    return _mm512_add_ps(sum, _mm512_mul_ps(weights, _mm512_set1_ps(x)));
  }
  // Loads the 16 weights of an even (0) or odd (1) column; a 32-bit lane holds both.
  static Floats load_halves(const uint8_t* line, int64_t odd) {
    const __m512i lanes = load(line);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(odd ? _mm512_srli_epi32(lanes, 16) : lanes));
  }
};

struct Vnni512 : VnniAttention<Zmm> {
  // Two blocks up to 4 bits; wider codes wait for the cache anyway. More would be faster from L2 only.
  static constexpr int blocks_at_once(Encoding encoding) {
    return encoding != Encoding::kBase3 && traits_of(encoding).group_lines <= 4 ? 2 : 1;
  }

  template <Encoding kEncoding>
  static void gemv_together(const uint8_t* lines, int64_t block_bytes, int64_t k_padded, const int8_t* q,
                            int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBits1) {
      gemv_positions<Zmm, 1, 1, 2>(lines, block_bytes, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits2) {
      gemv_positions<Zmm, 2, 1, 2>(lines, block_bytes, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits3) {
      gemv_bits3<Zmm, 2>(lines, block_bytes, k_padded, q, acc);
    } else {
      static_assert(kEncoding == Encoding::kBits4);
      gemv_positions<Zmm, 4, 2, 2>(lines, block_bytes, k_padded, q, acc);
    }
  }

  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBits1) {
      gemv_positions<Zmm, 1, 1, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits2) {
      gemv_positions<Zmm, 2, 2, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits3) {
      gemv_bits3<Zmm, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits4) {
      gemv_positions<Zmm, 4, 4, 1>(lines, 0, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBase3) {
      gemv_base3<Zmm>(lines, k_padded, q, acc);
    } else {
      gemv_positions<Zmm, 8, 8, 1>(lines, 0, k_padded, q, acc);
    }
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    gemm_all<Zmm, 16>(tile, columns, q, q_stride, 0, tokens, IntoIntegers<Zmm>{acc});
  }

  template <class Isa, Encoding kEncoding, class Finish>
  static void gemm_group(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                         int64_t tokens, const Finish& finish) {
    gemm_all<Zmm, 16>(tile, columns, q, q_stride, 0, tokens, IntoGroup<Zmm, Finish>{finish});
  }

  static void gemm_fp16(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
    gemm_fp16_all<Zmm, 8>(lines, x, k, tokens, acc);
  }
};

}  // namespace
}  // namespace edge
