#include "runner/threads.h"

#include <cstddef>
#include <cstdint>

// The wheel ships the symbols of the thread pool but not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace edge_runner {

using executorch::extension::threadpool::get_threadpool;

bool set_threads(int threads) {
  if (threads == thread_count()) return true;
  auto* pool = get_threadpool();
  return pool != nullptr && pool->_unsafe_reset_threadpool(static_cast<uint32_t>(threads));
}

int thread_count() {
  const auto* pool = get_threadpool();
  return pool == nullptr ? 1 : static_cast<int>(pool->get_thread_count());
}

int default_threads() {
  static const int count = thread_count();
  return count;
}

}  // namespace edge_runner
