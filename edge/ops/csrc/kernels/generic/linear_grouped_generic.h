// Multiply tables that have one scale per group of columns, and choose between the forms of a table. Written
// once for all instruction sets; sums of a group are exact integers, and groups are added as floats in
// ascending order.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "core/deterministic_math.h"
#include "kernels/generic/linear_generic.h"

namespace edge {
namespace {

// float_of_half for a vector of 16-bit words: exact, so the instruction gives the same bits as the
// arithmetic.
inline Floats floats_of_halves(const uint8_t* halves) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
#elif defined(__F16C__)
  return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
#elif defined(__aarch64__)
  return (Floats)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(halves)));
#else
  const Words words = load_half_words(halves), magnitude = words & 0x7fff;
  const Words subnormal = (Words)(to_floats((Ints)magnitude) * 0x1p-24f);
  const Words is_special = (Words)(magnitude >= 0x7c00), is_small = (Words)(magnitude < 0x400);
  const Words normal = (magnitude << 13) + (112u << 23) + (is_special & (112u << 23));
  return (Floats)((words & 0x8000) << 16 | (subnormal & is_small) | (normal & ~is_small));
#endif
}

// The scales of one group for the 16 rows of a block, and its zeros.
struct GroupScales {
  static constexpr int kVectors = kRows / kFloats;
  Floats scale[kVectors], zero[kVectors];

  GroupScales() = default;
  GroupScales(const LinearJob& job, const uint8_t* block, const GroupPlace& place) {
    load(job, block + place.scales, scale);
    if (job.form.has_zeros) {
      load(job, block + place.zeros, zero);
    } else {
      for (int i = 0; i < kVectors; ++i) scale[i] *= job.inverse_step, zero[i] = Floats{};
    }
  }

  static void load(const LinearJob& job, const uint8_t* halves, Floats* out) {
    const bool is_half = job.form.scale_type == ScaleType::kFloat16;
    for (int i = 0; i < kVectors; ++i, halves += kFloats * 2) {
      out[i] = is_half ? floats_of_halves(halves) : (Floats)(load_half_words(halves) << 16);
    }
  }

  // Adds a token's share of this group to vector i of its rows; act_sum is the sum of its activations.
  void add(const IntegerSums& sums, int64_t i, Ints acc, int32_t act_sum, float* rows) const {
    const Floats share = sums.has_zeros ? scale_sums(acc, act_sum, scale[i], zero[i])
                                        : sums.of_levels(acc, act_sum) * scale[i];
    store_floats(rows + i * kFloats, load_floats(rows + i * kFloats) + share);
  }
};

// Takes the integer sums of a group for many tokens. Holds copies, which stay in registers, because a store
// to `rows` could change what is read through a pointer.
struct GroupSums {
  IntegerSums sums;
  GroupScales scales;
  int64_t groups;
  const int32_t* act_sums;  // of the first token; the next is `groups` further
  float* rows;

  void operator()(int64_t token, int64_t i, Ints acc) const {
    scales.add(sums, i, acc, act_sums[token * groups], rows + token * kRows);
  }
};

// Bytes of a whole group's codes. The encoding is known here, which spares a division for every group.
template <Encoding kEncoding>
int64_t bytes_of_codes(const LinearJob& job) {
  return code_bytes(traits_of(kEncoding), job.form.group_columns);
}

inline void scale_tokens(const LinearJob& job, int64_t first, int64_t count, float* rows) {
  for (int64_t t = 0; t < count; ++t) {
    for (int row = 0; row < kRows; ++row) rows[t * kRows + row] *= job.scales[first + t].scale;
  }
}

// rows[16 * i + row] of `count` blocks that follow each other, for one token.
template <class Isa, Encoding kEncoding>
void multiply_groups_once(const LinearJob& job, int64_t block, int64_t count, float* rows) {
  constexpr int64_t kRun = Isa::blocks_at_once(kEncoding);
  if (kRun == 1) count = 1;  // lets the compiler drop the loops over blocks
  alignas(64) int32_t acc[kRun * kRows];
  const int64_t bytes = bytes_of_codes<kEncoding>(job);
  const IntegerSums sums(job);
  const float token_scale = job.scales[0].scale;
  std::memset(rows, 0, static_cast<size_t>(count * kRows) * sizeof(float));
  for (int64_t g = 0; g < job.groups; ++g) {
    const GroupPlace place = place_of_group(job.form, job.k_padded, g, bytes);
    const int32_t act_sum = job.group_sums[g];
    multiply_run<Isa, kEncoding>(block_codes(job, block) + place.codes, job.block_bytes, place.columns,
                                 job.q + g * job.form.group_columns, count, acc);
    for (int64_t i = 0; i < count; ++i) {
      __builtin_prefetch(block_codes(job, block + count + i) + place.scales);
      const GroupScales scales(job, block_codes(job, block + i), place);
      for (int64_t v = 0; v < GroupScales::kVectors; ++v) {
        scales.add(sums, v, load_ints(acc + i * kRows + v * kFloats), act_sum, rows + i * kRows);
      }
    }
  }
  for (int64_t row = 0; row < count * kRows; ++row) rows[row] *= token_scale;
}

// Decode with one scale per group.
template <class Isa, Encoding kEncoding>
void multiply_token_grouped(const LinearJob& job, int64_t begin, int64_t end) {
  constexpr int64_t kRun = Isa::blocks_at_once(kEncoding);
  alignas(64) float rows[kRun * kRows], up[kRun * kRows];
  const int64_t together = blocks_together<Isa, kEncoding>(job);
  for (int64_t block = begin; block < end; block += together) {
    const int64_t count = std::min(together, end - block);
    multiply_groups_once<Isa, kEncoding>(job, block, count, rows);
    if (job.up_block != 0) multiply_groups_once<Isa, kEncoding>(job, block + job.up_block, count, up);
    store_rows(job, block, count, 0, rows, job.up_block != 0 ? up : nullptr);
  }
}

// Unpacked groups of a block that follow each other.
template <class Isa, Encoding kEncoding>
struct UnpackedGroups {
  static constexpr int64_t kMost = kTileColumns / 32;
  alignas(64) uint8_t buffer[kTileColumns / 4 * 64];
  const uint8_t* tile[kMost];
  int64_t columns[kMost];
  GroupScales scales[kMost];

  void unpack(const LinearJob& job, int64_t block, int64_t first, int64_t count) {
    const int64_t bytes = bytes_of_codes<kEncoding>(job);
    const uint8_t* const lines = block_codes(job, block);
    for (int64_t i = 0; i < count; ++i) {
      const GroupPlace place = place_of_group(job.form, job.k_padded, first + i, bytes);
      uint8_t* const out = buffer + i * job.form.group_columns * kRows;
      tile[i] = Isa::template unpack<kEncoding>(lines + place.codes, place.columns, out);
      columns[i] = place.columns;
      scales[i] = GroupScales(job, lines, place);
    }
  }
};

// rows[token * 16 + row] of a block for `count` tokens from `first` on. Few tokens go through many groups
// before the next tokens do, so that their activations are read in order.
template <class Isa, Encoding kEncoding>
void multiply_groups(const LinearJob& job, int64_t block, int64_t first, int64_t count, float* rows) {
  UnpackedGroups<Isa, kEncoding> groups;
  const int64_t most = kTileColumns / job.form.group_columns;
  std::memset(rows, 0, static_cast<size_t>(count * kRows) * sizeof(float));
  for (int64_t g = 0; g < job.groups; g += most) {
    const int64_t end = std::min(job.groups - g, most);
    groups.unpack(job, block, g, end);
    for (int64_t t = 0; t < count; t += Isa::kGroupTokens) {
      const int64_t tokens = std::min(count - t, Isa::kGroupTokens), token = first + t;
      for (int64_t i = 0; i < end; ++i) {
        const int8_t* q = job.q + token * job.q_stride + (g + i) * job.form.group_columns;
        const GroupSums sums{IntegerSums(job), groups.scales[i], job.groups,
                             job.group_sums + token * job.groups + g + i, rows + t * kRows};
        Isa::template gemm_group<Isa, kEncoding>(groups.tile[i], groups.columns[i], q, job.q_stride, tokens,
                                                 sums);
      }
    }
  }
  scale_tokens(job, first, count, rows);
}

// Prefill with one scale per group.
template <class Isa, Encoding kEncoding>
void multiply_grouped(const LinearJob& job, int64_t begin, int64_t end) {
  alignas(64) float rows[kTokenChunk * kRows], up[kTokenChunk * kRows];
  for (int64_t first = 0; first < job.tokens; first += kTokenChunk) {
    const int64_t count = job.tokens - first < kTokenChunk ? job.tokens - first : kTokenChunk;
    for (int64_t block = begin; block < end; ++block) {
      multiply_groups<Isa, kEncoding>(job, block, first, count, rows);
      if (job.up_block != 0) multiply_groups<Isa, kEncoding>(job, block + job.up_block, first, count, up);
      for (int64_t t = 0; t < count; ++t) {
        store_rows(job, block, 1, first + t, rows + t * kRows, job.up_block != 0 ? up + t * kRows : nullptr);
      }
    }
  }
}

template <class Isa, Encoding kEncoding>
void multiply_codes(const LinearJob& job, int64_t begin, int64_t end) {
  if constexpr (kEncoding != Encoding::kBase3) {
    if (job.groups != 0) {
      return job.tokens == 1 ? multiply_token_grouped<Isa, kEncoding>(job, begin, end)
                             : multiply_grouped<Isa, kEncoding>(job, begin, end);
    }
  }
  if (job.tokens == 1) {
    multiply_token<Isa, kEncoding>(job, begin, end);
  } else {
    multiply_tokens<Isa, kEncoding>(job, begin, end);
  }
}

template <class Isa>
void linear_blocks(const LinearJob& job, int64_t begin, int64_t end) {
  switch (job.form.encoding->id) {
    case Encoding::kBits1:
      return multiply_codes<Isa, Encoding::kBits1>(job, begin, end);
    case Encoding::kBits2:
      return multiply_codes<Isa, Encoding::kBits2>(job, begin, end);
    case Encoding::kBits3:
      return multiply_codes<Isa, Encoding::kBits3>(job, begin, end);
    case Encoding::kBits4:
      return multiply_codes<Isa, Encoding::kBits4>(job, begin, end);
    case Encoding::kBits5:
      return multiply_codes<Isa, Encoding::kBits5>(job, begin, end);
    case Encoding::kBits6:
      return multiply_codes<Isa, Encoding::kBits6>(job, begin, end);
    case Encoding::kBits7:
      return multiply_codes<Isa, Encoding::kBits7>(job, begin, end);
    case Encoding::kBits8:
      return multiply_codes<Isa, Encoding::kBits8>(job, begin, end);
    case Encoding::kBase3:
      if constexpr (Isa::kRunsBase3) return multiply_codes<Isa, Encoding::kBase3>(job, begin, end);
      return;
    case Encoding::kHalf:
      return multiply_halves<Isa>(job, begin, end);
  }
}

}  // namespace
}  // namespace edge
