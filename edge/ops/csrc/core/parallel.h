// ParallelFor runs a loop on the threads that the caller chooses (core/team.h).
#pragma once

#include <algorithm>
#include <cstdint>

namespace edge {

// Calls body(context, begin, end) on disjoint ranges that cover [0, count), from any threads, and returns
// when all are done. `grain` is the fewest items that are worth a thread.
struct ParallelFor {
  using Body = void (*)(void* context, int64_t begin, int64_t end);
  void (*run)(void* pool, int64_t count, int64_t grain, Body body, void* context);
  void* pool;

  template <class Function>  // Function: void(int64_t begin, int64_t end)
  void operator()(int64_t count, int64_t grain, Function& function) const {
    if (count <= 0) return;
    const auto body = [](void* context, int64_t begin, int64_t end) {
      (*static_cast<Function*>(context))(begin, end);
    };
    if (count <= grain) {
      function(int64_t{0}, count);
    } else {
      run(pool, count, grain, body, &function);
    }
  }
};

// Returns the number of items that make `target` units of work when one item costs `cost`.
inline int64_t grain_for(int64_t target, int64_t cost) {
  return std::max<int64_t>(1, target / std::max<int64_t>(1, cost));
}

}  // namespace edge
