// The Hadamard transform of queries and keys for int4 caches, for all instruction sets: sums and differences
// of elements that are `step` apart, for every power of two below the matrix's size, the largest first.
#pragma once

#include <utility>

#include "kernels/generic/float_vector_generic.h"

namespace edge {
namespace {

// The size of the matrix for rows of dim elements: the largest power of two that divides dim.
inline int64_t hadamard_size(int64_t dim) {
  return dim & -dim;
}

template <int kStep, int... kLane>
Floats sums_and_differences(Floats x, std::integer_sequence<int, kLane...>) {
  const Floats partner = __builtin_shufflevector(x, x, (kLane ^ kStep)...);
  const Floats sign = {(kLane & kStep ? -1.0f : 1.0f)...};
  return partner + x * sign;
}

// The steps within a vector, from kStep on.
template <int kStep>
Floats transform_lanes(Floats x, int64_t size) {
  if (kStep < size) x = sums_and_differences<kStep>(x, std::make_integer_sequence<int, kFloats>());
  if constexpr (kStep > 1) x = transform_lanes<kStep / 2>(x, size);
  return x;
}

// Multiplies each hadamard_size elements of a row by the matrix, which is not normalised: products of two
// such rows are hadamard_size times too large. The row has room for whole vectors.
inline void hadamard_transform(float* row, int64_t dim) {
  const int64_t size = hadamard_size(dim);
  for (int64_t step = size / 2; step >= kFloats; step /= 2) {
    for (int64_t first = 0; first < dim; first += 2 * step) {
      for (float* at = row + first; at < row + first + step; at += kFloats) {
        const Floats a = load_floats(at), b = load_floats(at + step);
        store_floats(at, a + b);
        store_floats(at + step, a - b);
      }
    }
  }
  for (int64_t i = 0; i < dim; i += kFloats) {
    store_floats(row + i, transform_lanes<kFloats / 2>(load_floats(row + i), size));
  }
}

}  // namespace
}  // namespace edge
