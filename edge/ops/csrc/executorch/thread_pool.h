// ExecuTorch's thread pool, whose symbols the wheel ships without their header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace edge {

// The pool's threads, the caller included; 1 where there is no pool.
inline int64_t pool_threads() {
  const auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool == nullptr ? 1 : static_cast<int64_t>(pool->get_thread_count());
}

}  // namespace edge
