// Where the prefill loops put the sums of a tile. `V::Ints` holds the sums of 16 rows for one token, in
// ascending order.
#pragma once

#include "kernels/generic/linear_generic.h"

namespace edge {
namespace {

// Integers that other tiles add to.
template <class V>
struct IntoIntegers {
  int32_t* acc;

  typename V::Ints start(int64_t token) const { return V::load_ints(acc + token * kRows); }
  void finish(int64_t token, typename V::Ints sums) const { V::store(sums, acc + token * kRows); }
};

// What takes the sums of a group (GroupSums), vector by vector.
template <class V, class Finish>
struct IntoGroup {
  Finish take;

  typename V::Ints start(int64_t) const { return typename V::Ints{}; }
  void finish(int64_t token, typename V::Ints sums) const {
#pragma GCC unroll 4
    for (int64_t i = 0; i < kRows / kFloats; ++i) {
      Ints part;
      std::memcpy(&part, reinterpret_cast<const char*>(&sums) + i * sizeof(part), sizeof(part));
      take(token, i, part);
    }
  }
};

}  // namespace
}  // namespace edge
