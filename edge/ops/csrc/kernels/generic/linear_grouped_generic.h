// Multiply tables that have one scale per group of columns, and choose between the forms of a table. Written
// once for all instruction sets; sums of a group are exact integers, and groups are added as floats in
// ascending order.
#pragma once

#include "core/deterministic_math.h"
#include "kernels/generic/linear_generic.h"

namespace edge {
namespace {

// Scales of one group for the 16 rows of a block, or its zeros.
inline void load_scales(const uint8_t* halves, ScaleType type, float* out) {
  uint16_t bits[kRows];
  std::memcpy(bits, halves, sizeof(bits));
  if (type == ScaleType::kFloat16) {
    for (int row = 0; row < kRows; ++row) out[row] = float_of_half(bits[row]);
  } else {
    for (int row = 0; row < kRows; ++row) out[row] = float_from_bits(uint32_t{bits[row]} << 16);
  }
}

// One group of a block, ready to be multiplied.
struct Group {
  const uint8_t* codes;
  int64_t first, columns;  // of k
  float scale[kRows], zero[kRows] = {};

  Group(const LinearJob& job, const uint8_t* block, int64_t group) {
    const GroupPlace place = place_of_group(job.form, job.k_padded, group);
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

inline void scale_tokens(const LinearJob& job, int64_t first, int64_t count, float* rows) {
  for (int64_t t = 0; t < count; ++t) {
    for (int row = 0; row < kRows; ++row) rows[t * kRows + row] *= job.scales[first + t].scale;
  }
}

// rows[token * 16 + row] of a block for `count` tokens from `first` on.
template <class Isa, Encoding kEncoding>
void multiply_groups(const LinearJob& job, int64_t block, int64_t first, int64_t count, float* rows) {
  alignas(64) int32_t acc[kTokenChunk * kRows];
  std::memset(rows, 0, static_cast<size_t>(count * kRows) * sizeof(float));
  for (int64_t g = 0; g < job.groups; ++g) {
    const Group group(job, block_codes(job, block), g);
    const int8_t* q = job.q + first * job.q_stride + group.first;
    if (count == 1) {
      multiply_lines_once<Isa, kEncoding>(group.codes, group.columns, q, acc);
    } else {
      multiply_lines<Isa, kEncoding>(group.codes, group.columns, q, job.q_stride, count, acc);
    }
    for (int64_t t = 0; t < count; ++t) {
      group.add(job, acc + t * kRows, job.group_sums[(first + t) * job.groups + g], rows + t * kRows);
    }
  }
  scale_tokens(job, first, count, rows);
}

// Decode and prefill with one scale per group.
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
    if (job.groups != 0) return multiply_grouped<Isa, kEncoding>(job, begin, end);
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
