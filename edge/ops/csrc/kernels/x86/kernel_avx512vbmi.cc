// AVX-512 VNNI and VBMI, from Ice Lake and Zen 4 on: unpacks base 3 by table look-up.
#include "core/cpu_features.h"
#include "kernels/generic/make_kernel.h"
#include "kernels/x86/primitives_avx512vnni.h"

namespace edge {
namespace {

// of[byte]: the last four trits of a base-3 byte, two bits each, the first in the lowest bits.
struct LastTrits {
  alignas(64) uint8_t of[256];
};

constexpr LastTrits last_trits() {
  LastTrits table{};
  for (int byte = 0; byte < 256; ++byte) {
    int rest = 3 * byte & 0xff;
    for (int position = 0; position < 4; ++position) {
      table.of[byte] = static_cast<uint8_t>(table.of[byte] | (3 * rest >> 8) << 2 * position);
      rest = 3 * rest & 0xff;
    }
  }
  return table;
}

constexpr LastTrits kLastTrits = last_trits();

// A table of 256 bytes in four registers. vpermi2b looks up 7 bits in two registers; bit 7 selects the pair.
struct Table {
  __m512i of[4];

  Table() {
    for (int i = 0; i < 4; ++i) of[i] = Zmm::load(kLastTrits.of + 64 * i);
  }
  __m512i look_up(__m512i bytes) const {
    const __m512i low = _mm512_permutex2var_epi8(of[0], bytes, of[1]);
    const __m512i high = _mm512_permutex2var_epi8(of[2], bytes, of[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
  }
};

// The sums of one block: the first trit as in gemv_base3, the others by position.
struct TritSums {
  SumsOfTrit<Zmm> first = {};
  Zmm::Ints others[4] = {};

  void add(const Table& table, __m512i line, const int8_t* q) {
    first.add(line, q);
    const __m512i trits = table.look_up(line);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      others[p] = Zmm::dot(others[p], Zmm::mask(trits, 3 << 2 * p), q + 4 + 4 * p);
    }
  }
  void finish(int32_t* out) const {
    Zmm::Ints total = {};
    for (int p = 0; p < 4; ++p) total = total + (others[p] >> 2 * p);
    Zmm::store(total, out);
    first.finish(out);
  }
};

// Computes the first trit of a byte and looks up the others.
template <int kBlocks>
void gemv_trits(const uint8_t* lines, int64_t block_bytes, int64_t k_padded, const int8_t* q, int32_t* out) {
  const Table table;
  TritSums sums[kBlocks];
  Ahead<kBlocks> ahead(lines, block_bytes, k_padded / 20 * 64);
  const uint8_t* const end = lines + k_padded / 20 * 64;
  for (; lines < end; lines += 64, q += 20) {
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
      const uint8_t* const line = lines + b * block_bytes;
      ahead.next(line);
      sums[b].add(table, Zmm::load(line), q);
    }
  }
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) sums[b].finish(out + b * kRows);
}

struct Vbmi512 : Vnni512 {
  static constexpr int blocks_at_once(Encoding encoding) {
    return encoding == Encoding::kBase3 ? 2 : Vnni512::blocks_at_once(encoding);
  }

  template <Encoding kEncoding>
  static void gemv_together(const uint8_t* lines, int64_t block_bytes, int64_t k_padded, const int8_t* q,
                            int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBase3) {
      gemv_trits<2>(lines, block_bytes, k_padded, q, acc);
    } else {
      Vnni512::gemv_together<kEncoding>(lines, block_bytes, k_padded, q, acc);
    }
  }

  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    if constexpr (kEncoding == Encoding::kBase3) {
      gemv_trits<1>(lines, 0, k_padded, q, acc);
    } else {
      Vnni512::gemv<kEncoding>(lines, k_padded, q, acc);
    }
  }
};

bool supported() {
  return cpu_features().avx512vbmi;
}

}  // namespace

extern const Kernel kAvx512Vbmi = make_kernel<Vbmi512>("avx512vbmi", supported);

}  // namespace edge
