// The largest sizes that the ops take. Nobody has that much memory, and below them no index and no number of
// bytes that an op computes overflows 64 bits.
#pragma once

#include <cstdint>

#include "core/error.h"

namespace edge {

inline constexpr int64_t kMaxValues = int64_t{1} << 40;     // of a tensor
inline constexpr int64_t kMaxPositions = int64_t{1} << 31;  // of a KV cache
inline constexpr int64_t kMaxHeads = 65536;
inline constexpr int64_t kMaxThreads = 4096;

// False with a sentence unless an op can take rows of that many columns; there may be no rows.
inline bool check_rows(const char* op, int64_t rows, int64_t columns, Error* error) {
  if (rows >= 0 && columns >= 1 && columns <= kMaxValues && rows <= kMaxValues / columns) return true;
  return error->fail("%s: %lld rows of %lld values are out of range", op, static_cast<long long>(rows),
                     static_cast<long long>(columns));
}

}  // namespace edge
