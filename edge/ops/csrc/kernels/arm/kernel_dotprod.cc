// ARMv8.2 with signed dot products (sdot): Cortex-A55, A75, A76 and later. 8-bit codes are multiplied as code
// - 128.
#include "core/cpu_features.h"
#include "kernels/arm/attention_integer_dotprod.h"
#include "kernels/arm/linear_lowbit_dotprod.h"

namespace edge {
namespace {

struct SignedDot {
  static constexpr bool kUnsigned = false;

  template <int kLane>
  static int32x4_t add(int32x4_t sums, uint8x16_t codes, int8x16_t acts) {
    return vdotq_laneq_s32(sums, vreinterpretq_s8_u8(codes), acts, kLane);
  }
};

// Multiplies kTokens by 16 columns of a tile of signed bytes.
template <int kTokens>
inline void add_columns(const uint8_t* tile, const int8_t* q, int64_t q_stride, DotSums* sums) {
  int8x16_t acts[kTokens];
  for (int t = 0; t < kTokens; ++t) acts[t] = vld1q_s8(q + t * q_stride);
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    const uint8x16_t quad0 = load_part(tile, part), quad1 = load_part(tile + 64, part);
    const uint8x16_t quad2 = load_part(tile + 128, part), quad3 = load_part(tile + 192, part);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      add<SignedDot, 0>(&sums[t], part, quad0, acts[t]);
      add<SignedDot, 1>(&sums[t], part, quad1, acts[t]);
      add<SignedDot, 2>(&sums[t], part, quad2, acts[t]);
      add<SignedDot, 3>(&sums[t], part, quad3, acts[t]);
    }
  }
}

template <Encoding kEncoding, int kTokens>
void gemm_tokens(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int32_t* acc) {
  DotSums sums[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    const int32_t correction = kEncoding == Encoding::kBits8 ? 128 * sum_acts(q + t * q_stride, columns) : 0;
    for (int part = 0; part < kParts; ++part) sums[t].part[part] = vdupq_n_s32(correction);
  }
  for (int64_t column = 0; column < columns; column += 16) {
    add_columns<kTokens>(tile + column * kRows, q + column, q_stride, sums);
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int part = 0; part < kParts; ++part) add_rows(acc + t * kRows, part, sums[t].part[part]);
  }
}

struct Dotprod : DotAttention {
  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    gemv_dot<SignedDot, kEncoding>(lines, k_padded, q, acc);
  }

  template <Encoding kEncoding>
  static const uint8_t* unpack(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
    return unpack_lines<kEncoding>(lines, columns, buffer);
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      gemm_tokens<kEncoding, 4>(tile, columns, q + t * q_stride, q_stride, acc + t * kRows);
    }
    for (; t < tokens; ++t) {
      gemm_tokens<kEncoding, 1>(tile, columns, q + t * q_stride, q_stride, acc + t * kRows);
    }
  }
};

bool supported() {
  return cpu_features().dotprod;
}

}  // namespace

extern const Kernel kDotprod = make_kernel<Dotprod>("dotprod", supported);

}  // namespace edge
