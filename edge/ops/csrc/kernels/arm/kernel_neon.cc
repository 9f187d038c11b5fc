// ARMv8.0, without dot products: Cortex-A53, A57, A72, A73.
#include "kernels/arm/attention_integer_neon.h"
#include "kernels/arm/linear_lowbit_neon.h"

namespace edge {
namespace {

struct Neon : MulAttention {
  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    std::memset(acc, 0, kRows * sizeof(int32_t));
    if constexpr (kEncoding == Encoding::kBits1) {
      gemv_bits1(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits2) {
      gemv_bits2(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits3) {
      gemv_bits3(lines, k_padded, q, acc);
    } else if constexpr (kEncoding == Encoding::kBits4) {
      gemv_bits4(lines, k_padded, q, acc);
    } else {
      static_assert(kEncoding == Encoding::kBits8);
      gemm_bytes<0x80>(lines, k_padded, q, acc);
      add_correction(q, k_padded, acc);
    }
  }

  template <Encoding kEncoding>
  static const uint8_t* unpack(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
    return unpack_lines<kEncoding>(lines, columns, buffer);
  }

  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    int64_t t = 0;
    if constexpr (kEncoding == Encoding::kBits8) {
      for (; t < tokens; ++t) {
        gemm_bytes<0>(tile, columns, q + t * q_stride, acc + t * kRows);
        add_correction(q + t * q_stride, columns, acc + t * kRows);
      }
    } else {
      constexpr int kLargest = largest_code(kEncoding);
      for (; t + 2 <= tokens; t += 2) {
        gemm_tile<kLargest, 2>(tile, columns, q + t * q_stride, q_stride, acc + t * kRows);
      }
      for (; t < tokens; ++t) {
        gemm_tile<kLargest, 1>(tile, columns, q + t * q_stride, q_stride, acc + t * kRows);
      }
    }
  }
};

bool supported() {
  return true;  // every AArch64 CPU
}

}  // namespace

extern const Kernel kNeon = make_kernel<Neon>("neon", supported);

}  // namespace edge
