// The primitives that a kernel gives to the shared bodies, in plain C++ that any compiler may vectorise:
// the readable ones, and the base that other instruction sets inherit what they do not improve from.
#pragma once

#include <cstring>

#include "core/attention_job.h"
#include "kernels/generic/linear_generic.h"

namespace edge {
namespace {

// Returns block `index` of a cache with one integer a byte: `count` bytes, in `buffer` if they are int4
// codes. All low codes of an int4 block come before all high ones, so unpacked it has the layout of int8.
template <int kBits>
const int8_t* whole_bytes(const int8_t* cache, int64_t index, int64_t count, int8_t* buffer) {
  if constexpr (kBits == 8) return cache + index * count;
  const int64_t half = count / 2;
  const int8_t* packed = cache + index * half;
  for (int64_t i = 0; i < half; ++i) {
    buffer[i] = static_cast<int8_t>(packed[i] & 15);
    buffer[half + i] = static_cast<int8_t>(packed[i] >> 4 & 15);
  }
  return buffer;
}

struct Portable {
  static constexpr bool kRunsBase3 = true;  // slowly: it is the reference, and checks the others

  // out[position][lane] of one group, one byte per code; lane = row * 4 + j (layout.h).
  template <Encoding kEncoding>
  static void unpack_group(const uint8_t* lines, uint8_t* out) {
    if constexpr (kEncoding == Encoding::kBase3) {
      for (int lane = 0; lane < 64; ++lane) {
        uint8_t byte = lines[lane];
        for (int position = 0; position < 5; ++position) {
          const uint32_t triple = 3u * byte;  // next_trit of layout.h
          out[position * 64 + lane] = static_cast<uint8_t>(triple >> 8);
          byte = static_cast<uint8_t>(triple);
        }
      }
    } else if constexpr (kEncoding == Encoding::kBits3) {
      unpack_threes(lines, out);
    } else {
      unpack_planes<kEncoding, 0, 0>(lines, out);
    }
  }

  static void unpack_threes(const uint8_t* lines, uint8_t* out) {
#pragma GCC unroll 3
    for (int line = 0; line < 3; ++line) {
      for (int lane = 0; lane < 64; ++lane) {
        const int byte = lines[line * 64 + lane];
        out[line * 128 + lane] = static_cast<uint8_t>(byte & 7);
        out[line * 128 + 64 + lane] = static_cast<uint8_t>(byte >> 3 & 7);
      }
    }
    for (int lane = 0; lane < 64; ++lane) {
      const int second = lines[64 + lane], third = lines[128 + lane];
      const int spare = (lines[lane] & 0xc0) | (second & 0xc0) >> 2 | (third & 0xc0) >> 4;
      out[384 + lane] = static_cast<uint8_t>(spare >> 2 & 7);
      out[448 + lane] = static_cast<uint8_t>(spare >> 5);
    }
  }

  // Writes the lowest plane and puts the bits of each higher one above it. In vectors, because GCC vectorises
  // the plain loop in some functions and not in others. Planes are template arguments: then shifts are
  // constants.
  template <Encoding kEncoding, int kPlane, int kBelow>
  static void unpack_planes(const uint8_t* lines, uint8_t* out) {
    constexpr int kBits = traits_of(kEncoding).planes[kPlane];
    if constexpr (kBits != 0) {
      constexpr int kPositions = 8 / kBits;
      constexpr uint8_t kMask = (1 << kBits) - 1;
#pragma GCC unroll 8
      for (int quad = 0; quad < 8; ++quad) {
        const uint8_t* line = lines + quad / kPositions * 64;
        uint8_t* codes = out + quad * 64;
        for (size_t lane = 0; lane < 64; lane += sizeof(Octets)) {
          Octets value = (load_octets(line + lane) >> quad % kPositions * kBits & kMask) << kBelow;
          if (kBelow != 0) value |= load_octets(codes + lane);
          std::memcpy(codes + lane, &value, sizeof(value));
        }
      }
      if constexpr (kPlane + 1 < kMaxPlanes) {
        unpack_planes<kEncoding, kPlane + 1, kBelow + kBits>(lines + kBits * 64, out);
      }
    }
  }

  // Codes of `columns` (whole groups, at most kTileColumns) as the tile that `gemm` reads: here 64-byte
  // lines of 16 rows x 4 columns, one byte per code. Returns `buffer`, or `lines` if they are a tile.
  template <Encoding kEncoding>
  static const uint8_t* unpack(const uint8_t* lines, int64_t columns, uint8_t* buffer) {
    if constexpr (kEncoding == Encoding::kBits8) return lines;
    uint8_t* out = buffer;
    for (int64_t column = 0; column < columns; column += columns_of_group(kEncoding)) {
      unpack_group<kEncoding>(lines, out);
      lines += bytes_of_group(kEncoding);
      out += columns_of_group(kEncoding) * kRows;
    }
    return buffer;
  }

  // acc[token * 16 + row] += sum over the tile's columns of code * q[token * q_stride + column].
  template <Encoding kEncoding>
  static void gemm(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride, int64_t tokens,
                   int32_t* acc) {
    for (int64_t t = 0; t < tokens; ++t) {
      int32_t sums[kRows];
      std::memcpy(sums, acc + t * kRows, sizeof(sums));
      for (int64_t column = 0; column < columns; column += 4) {
        const uint8_t* lanes = tile + column * kRows;
        const int8_t* four = q + t * q_stride + column;
        const int32_t q0 = four[0], q1 = four[1], q2 = four[2], q3 = four[3];
        for (int row = 0; row < kRows; ++row) {
          sums[row] += lanes[row * 4] * q0 + lanes[row * 4 + 1] * q1 + lanes[row * 4 + 2] * q2 +
                       lanes[row * 4 + 3] * q3;
        }
      }
      std::memcpy(acc + t * kRows, sums, sizeof(sums));
    }
  }

  // The same for one group of columns and up to kGroupTokens: `finish` takes the sums of each token
  // (GroupSums).
  static constexpr int64_t kGroupTokens = 16;
  template <class Isa, Encoding kEncoding, class Finish>
  static void gemm_group(const uint8_t* tile, int64_t columns, const int8_t* q, int64_t q_stride,
                         int64_t tokens, const Finish& finish) {
    alignas(64) int32_t acc[Isa::kGroupTokens * kRows];
    std::memset(acc, 0, static_cast<size_t>(tokens * kRows) * sizeof(int32_t));
    Isa::template gemm<kEncoding>(tile, columns, q, q_stride, tokens, acc);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < kRows / kFloats; ++i) finish(t, i, load_ints(acc + t * kRows + i * kFloats));
    }
  }

  // How many blocks `gemv_together` multiplies, so that an activation is loaded once for all of them; 1 where
  // there is no such loop.
  static constexpr int blocks_at_once(Encoding) { return 1; }

  // acc[row] = sum over k_padded columns of code * q, for one token.
  template <Encoding kEncoding>
  static void gemv(const uint8_t* lines, int64_t k_padded, const int8_t* q, int32_t* acc) {
    uint8_t codes[32 * kRows];
    std::memset(acc, 0, kRows * sizeof(int32_t));
    for (int64_t column = 0; column < k_padded; column += columns_of_group(kEncoding)) {
      unpack_group<kEncoding>(lines, codes);
      gemm<kEncoding>(codes, columns_of_group(kEncoding), q + column, 0, 1, acc);
      lines += bytes_of_group(kEncoding);
    }
  }

  // acc[token * 16 + row] = sum of float(half) * x[token * k + column] over 0 <= column < k, ascending,
  // one rounded multiplication and one rounded addition each.
  static void gemm_fp16(const uint8_t* lines, const float* x, int64_t k, int64_t tokens, float* acc) {
    std::memset(acc, 0, static_cast<size_t>(tokens * kRows) * sizeof(float));
    for (int64_t column = 0; column < k; ++column) {
      uint32_t lanes[kRows];  // an even column in the low half of each, an odd one in the high half
      float weights[kRows];
      std::memcpy(lanes, lines + column / 2 * 64, sizeof(lanes));
      const int shift = static_cast<int>(column % 2) * 16;
      for (int row = 0; row < kRows; ++row) weights[row] = float_of_half(lanes[row] >> shift & 0xffff);
      for (int64_t t = 0; t < tokens; ++t) {
        for (int row = 0; row < kRows; ++row) acc[t * kRows + row] += weights[row] * x[t * k + column];
      }
    }
  }

  // Scores of kQueries (1 to kMaxShared) queries against `blocks` (1 to 4) blocks of 16 keys, exact:
  // scores[query * kTile + position] = sum over d of q[query * kMaxHeadDim + d] * key[position][d].
  // keys is an int8 (kBits 8) or int4 K (attention_job.h), -127 <= key, q <= 127, a key of 4 bits is its
  // code; q_sums[query] = sum of q. q and scores are 64-byte aligned, here and below; keys and values may not
  // be.
  template <int kBits, int kQueries>
  static void dot_keys(const int8_t* keys, int64_t blocks, int64_t head_dim, const int8_t* q,
                       const int32_t* /*q_sums*/, int32_t* scores) {
    int8_t unpacked[kKeyBlock * kMaxHeadDim];
    for (int64_t block = 0; block < blocks; ++block) {
      const int8_t* lines = whole_bytes<kBits>(keys, block, kKeyBlock * head_dim, unpacked);
      for (int query = 0; query < kQueries; ++query) {
        const int8_t *line = lines, *four = q + query * kMaxHeadDim;
        int32_t sums[kKeyBlock] = {};
        for (int64_t d = 0; d < head_dim; d += 4, line += 64, four += 4) {
          const int32_t q0 = four[0], q1 = four[1], q2 = four[2], q3 = four[3];
          for (int64_t i = 0; i < kKeyBlock; ++i) {
            sums[i] += line[i * 4] * q0 + line[i * 4 + 1] * q1 + line[i * 4 + 2] * q2 + line[i * 4 + 3] * q3;
          }
        }
        std::memcpy(scores + query * kTile + block * kKeyBlock, sums, sizeof(sums));
      }
    }
  }

  // sums[query * kMaxHeadDim + d] = sum over position < 4 * quads of weights[query * kTile + position] *
  // value[position][d], exact, for 1 to kMaxShared queries. values is an int8 or int4 V, quads 1 to 16,
  // |weight| <= kWeightMax (hi * 128 + lo fits two 7-bit passes), -128 <= value <= 127, a value of 4 bits is
  // its code. Weights are negative only where the scale of a value is, which no op writes but a damaged
  // program can hold.
  template <int kBits, int kQueries>
  static void weigh_values(const int8_t* values, int64_t quads, int64_t head_dim, const int16_t* weights,
                           int32_t* sums) {
    int8_t unpacked[4 * kMaxHeadDim];
    for (int query = 0; query < kQueries; ++query) {
      int32_t* out = sums + query * kMaxHeadDim;
      std::memset(out, 0, static_cast<size_t>(head_dim) * sizeof(int32_t));
      for (int64_t quad = 0; quad < quads; ++quad) {
        const int16_t* four = weights + query * kTile + quad * 4;
        const int8_t* lane = whole_bytes<kBits>(values, quad, head_dim * 4, unpacked);
        const int32_t w0 = four[0], w1 = four[1], w2 = four[2], w3 = four[3];
        for (int64_t d = 0; d < head_dim; ++d) {
          out[d] += lane[d * 4] * w0 + lane[d * 4 + 1] * w1 + lane[d * 4 + 2] * w2 + lane[d * 4 + 3] * w3;
        }
      }
    }
  }
};

}  // namespace
}  // namespace edge
