// ARMv8.6 with int8 matrix multiplication: Cortex-X2, A510, A710, Neoverse V1 and later. Decode uses usdot,
// which takes unsigned 8-bit codes. Prefill uses usmmla: [2 rows, 8 columns] of codes times [8 columns, 2
// tokens] of activations, twice the multiplications of a dot product.
#include "core/cpu_features.h"
#include "kernels/arm/attention_integer_dotprod.h"
#include "kernels/arm/linear_lowbit_dotprod.h"

namespace edge {
namespace {

struct MixedDot {
  static constexpr bool kUnsigned = true;

  template <int kLane>
  static int32x4_t add(int32x4_t sums, uint8x16_t codes, int8x16_t acts) {
    return vusdotq_laneq_s32(sums, codes, acts, kLane);
  }
};

constexpr int kRowPairs = kRows / 2;

// Unpacks a tile for usmmla: 8 columns of 16 rows in 128 bytes, row after row.
template <Encoding kEncoding>
const uint8_t* unpack_rows(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
  uint8_t* out = buffer;
  for (int64_t column = 0; column < columns; column += 32, out += 512) {
    for (int part = 0; part < kParts; ++part) {
      uint8x16_t codes[8];
      unpack_part<kEncoding, false>(lines, part, codes);
      for (int eight = 0; eight < 4; ++eight) {
        const uint32x4_t left = vreinterpretq_u32_u8(codes[eight * 2]);
        const uint32x4_t right = vreinterpretq_u32_u8(codes[eight * 2 + 1]);
        uint8_t* rows = out + eight * 128 + part * 32;
        vst1q_u8(rows, vreinterpretq_u8_u32(vzip1q_u32(left, right)));
        vst1q_u8(rows + 16, vreinterpretq_u8_u32(vzip2q_u32(left, right)));
      }
    }
    lines += bytes_of_group(kEncoding);
  }
  return buffer;
}

// Multiplies kPairs pairs of tokens; the second of a pair is `second` elements after the first.
template <int kPairs>
void gemm_pairs(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t second,
                int32_t* acc) {
  int32x4_t sums[kPairs][kRowPairs];  // lanes are {row, token}: {0, 0}, {0, 1}, {1, 0}, {1, 1}
  for (int pair = 0; pair < kPairs; ++pair) {
    for (int rows = 0; rows < kRowPairs; ++rows) sums[pair][rows] = vdupq_n_s32(0);
  }
  for (int64_t column = 0; column < columns; column += 8, tile += 128) {
    int8x16_t acts[kPairs];
    for (int pair = 0; pair < kPairs; ++pair) {
      const int8_t* first = q + pair * 2 * q_stride + column;
      acts[pair] = vcombine_s8(vld1_s8(first), vld1_s8(first + second));
    }
#pragma GCC unroll 8
    for (int rows = 0; rows < kRowPairs; ++rows) {
      const uint8x16_t codes = vld1q_u8(tile + rows * 16);
      for (int pair = 0; pair < kPairs; ++pair) {
        sums[pair][rows] = vusmmlaq_s32(sums[pair][rows], codes, acts[pair]);
      }
    }
  }
  for (int pair = 0; pair < kPairs; ++pair) {
    int32_t* tokens = acc + pair * 2 * kRows;
    for (int part = 0; part < kParts; ++part) {
      const int32x4_t low = sums[pair][part * 2], high = sums[pair][part * 2 + 1];
      add_rows(tokens, part, vuzp1q_s32(low, high));
      if (second != 0) add_rows(tokens + kRows, part, vuzp2q_s32(low, high));
    }
  }
}

struct I8mm : DotAttention {
  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    gemv_dot<MixedDot, kEncoding>(lines, k_padded, q, acc);
  }

  template <Encoding kEncoding>
  static const uint8_t* unpack(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
    return unpack_rows<kEncoding>(lines, columns, buffer);
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      gemm_pairs<2>(tile, columns, q + t * q_stride, q_stride, q_stride, acc + t * kRows);
    }
    for (; t + 2 <= tokens; t += 2) {
      gemm_pairs<1>(tile, columns, q + t * q_stride, q_stride, q_stride, acc + t * kRows);
    }
    if (t < tokens) gemm_pairs<1>(tile, columns, q + t * q_stride, q_stride, 0, acc + t * kRows);
  }
};

bool supported() {
  return cpu_features().i8mm;
}

}  // namespace

extern const Kernel kI8mm = make_kernel<I8mm>("i8mm", supported);

}  // namespace edge
