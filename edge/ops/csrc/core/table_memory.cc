#include "core/table_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>

#include "core/layout.h"

namespace edge {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;
// Most tables are smaller than a large page, so that many share a chunk. Its unused end takes no memory.
constexpr size_t kChunk = 16 * kLargePage;

// AddressSanitizer sees what is read behind a table only if the table's memory ends there.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kShareChunks = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kShareChunks = false;
#else
constexpr bool kShareChunks = true;
#endif
#else
constexpr bool kShareChunks = true;
#endif

// The chunk that is being filled. It lives as long as a table in it.
struct Chunk {
  std::weak_ptr<uint8_t> memory;
  size_t bytes = 0, used = 0;
};

struct State {
  std::mutex mutex;
  Chunk chunk;
  std::atomic<int64_t> held{0};
};

// Never destroyed: worker threads may outlive main.
State& state() {
  static State* const instance = new State;
  return *instance;
}

// Memory on pages of 2 MiB where Linux offers them: every token reads all codes, and larger pages need fewer
// address translations.
TableMemory allocate_chunk(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, kLargePage, bytes) != 0) return nullptr;
#if defined(MADV_HUGEPAGE)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return TableMemory(static_cast<uint8_t*>(memory), [](uint8_t* each) { std::free(each); });
}

}  // namespace

TableMemory allocate_table(int64_t bytes, Error* error) {
  State& all = state();
  const std::lock_guard<std::mutex> lock(all.mutex);
  const auto wanted = static_cast<size_t>(round_up(bytes, kLineBytes));
  TableMemory memory = all.chunk.memory.lock();
  if (memory == nullptr || all.chunk.bytes - all.chunk.used < wanted) {
    const size_t whole_pages = static_cast<size_t>(round_up(bytes, kLargePage));
    const size_t size = kShareChunks ? std::max(kChunk, whole_pages) : wanted;
    memory = allocate_chunk(size);
    if (memory == nullptr) {
      error->fail("out of memory for %lld bytes of unpacked weights", static_cast<long long>(bytes));
      return nullptr;
    }
    all.chunk.memory = memory;
    all.chunk.bytes = size;
    all.chunk.used = 0;
  }
  uint8_t* const table = memory.get() + all.chunk.used;
  all.chunk.used += wanted;
  all.held += bytes;
  return TableMemory(table, [memory, bytes](uint8_t*) { state().held -= bytes; });
}

int64_t held_table_bytes() {
  return state().held;
}

}  // namespace edge
