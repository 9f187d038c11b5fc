#include "runner/threads.h"

#include "executorch/thread_pool.h"

namespace edge_runner {

bool set_threads(int threads) {
  if (threads == thread_count()) return true;
  auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool != nullptr && pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
}

int thread_count() {
  return static_cast<int>(edge::pool_threads());
}

int default_threads() {
  static const int count = thread_count();
  return count;
}

}  // namespace edge_runner
