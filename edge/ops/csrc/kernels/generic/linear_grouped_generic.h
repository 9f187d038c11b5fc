// Multiply tables that have one scale per group of columns, and choose between the forms of a table. Written
// once for all instruction sets; sums of a group are exact integers, and groups are added as floats in
// ascending order.
#pragma once

#include "core/deterministic_math.h"
#include "kernels/generic/linear_generic.h"

namespace edge {
namespace {

// float_of_half for a vector of 16-bit words.
inline Floats floats_of_halves(Words halves) {
  const Words magnitude = halves & 0x7fff;
  const Words subnormal = (Words)(to_floats((Ints)magnitude) * 0x1p-24f);
  const Words is_special = (Words)(magnitude >= 0x7c00), is_small = (Words)(magnitude < 0x400);
  const Words normal = (magnitude << 13) + (112u << 23) + (is_special & (112u << 23));
  return (Floats)((halves & 0x8000) << 16 | (subnormal & is_small) | (normal & ~is_small));
}

// Scales of one group for the 16 rows of a block, or its zeros.
inline void load_scales(const uint8_t* halves, ScaleType type, float* out) {
  for (int64_t row = 0; row < kRows; row += kFloats) {
    const Words bits = load_half_words(halves + row * 2);
    store_floats(out + row, type == ScaleType::kFloat16 ? floats_of_halves(bits) : (Floats)(bits << 16));
  }
}

// One group of a block, ready to be multiplied.
struct Group {
  const uint8_t* codes;
  int64_t first, columns;  // of k
  float scale[kRows], zero[kRows] = {};

  Group(const LinearJob& job, const uint8_t* block, int64_t group, const GroupPlace& place) {
    codes = block + place.codes;
    first = group * job.form.group_columns;
    columns = place.columns;
    load_scales(block + place.scales, job.form.scale_type, scale);
    if (job.form.has_zeros) load_scales(block + place.zeros, job.form.scale_type, zero);
  }

  // rows[16] += the group's share of a token; act_sum is the sum of its activations.
  void add(const LinearJob& job, const int32_t* acc, int32_t act_sum, float* rows) const {
    for (int64_t row = 0; row < kRows; row += kFloats) {
      const Ints sums = load_ints(acc + row);
      const Floats scales = load_floats(scale + row);
      const Floats share = job.form.has_zeros ? scale_sums(sums, act_sum, scales, load_floats(zero + row))
                                              : scale_sums(job, sums, act_sum, scales);
      store_floats(rows + row, load_floats(rows + row) + share);
    }
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
  alignas(64) int32_t acc[Isa::blocks_at_once(kEncoding) * kRows];
  const int64_t bytes = bytes_of_codes<kEncoding>(job);
  std::memset(rows, 0, static_cast<size_t>(count * kRows) * sizeof(float));
  for (int64_t g = 0; g < job.groups; ++g) {
    const GroupPlace place = place_of_group(job.form, job.k_padded, g, bytes);
    multiply_run<Isa, kEncoding>(block_codes(job, block) + place.codes, job.block_bytes, place.columns,
                                 job.q + g * job.form.group_columns, count, acc);
    for (int64_t i = 0; i < count; ++i) {
      const Group group(job, block_codes(job, block + i), g, place);
      group.add(job, acc + i * kRows, job.group_sums[g], rows + i * kRows);
    }
  }
  for (int64_t row = 0; row < count * kRows; ++row) rows[row] *= job.scales[0].scale;
}

// Decode with one scale per group.
template <class Isa, Encoding kEncoding>
void multiply_token_grouped(const LinearJob& job, int64_t begin, int64_t end) {
  constexpr int64_t kRun = Isa::blocks_at_once(kEncoding);
  alignas(64) float rows[kRun * kRows], up[kRun * kRows];
  for (int64_t block = begin; block < end; block += kRun) {
    const int64_t count = std::min(kRun, end - block);
    multiply_groups_once<Isa, kEncoding>(job, block, count, rows);
    if (job.up_block != 0) multiply_groups_once<Isa, kEncoding>(job, block + job.up_block, count, up);
    store_rows(job, block, count, 0, rows, job.up_block != 0 ? up : nullptr);
  }
}

// rows[token * 16 + row] of a block for `count` tokens from `first` on.
template <class Isa, Encoding kEncoding>
void multiply_groups(const LinearJob& job, int64_t block, int64_t first, int64_t count, float* rows) {
  alignas(64) int32_t acc[kTokenChunk * kRows];
  const int64_t bytes = bytes_of_codes<kEncoding>(job);
  std::memset(rows, 0, static_cast<size_t>(count * kRows) * sizeof(float));
  for (int64_t g = 0; g < job.groups; ++g) {
    const GroupPlace place = place_of_group(job.form, job.k_padded, g, bytes);
    const Group group(job, block_codes(job, block), g, place);
    const int8_t* q = job.q + first * job.q_stride + group.first;
    multiply_lines<Isa, kEncoding>(group.codes, group.columns, q, job.q_stride, count, acc);
    for (int64_t t = 0; t < count; ++t) {
      group.add(job, acc + t * kRows, job.group_sums[(first + t) * job.groups + g], rows + t * kRows);
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
