#include "core/table_memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdlib>

#include "core/layout.h"

namespace edge {
namespace {

// Never destroyed: worker threads may outlive main.
std::atomic<int64_t>& held_bytes() {
  static auto* const instance = new std::atomic<int64_t>(0);
  return *instance;
}

// Puts large tables on pages of 2 MiB where Linux offers them: every token reads all codes, and larger pages
// need fewer address translations.
uint8_t* allocate(size_t bytes) {
  constexpr size_t kLargePage = size_t{2} << 20;
  const bool large = bytes >= kLargePage;
  const size_t alignment = large ? kLargePage : static_cast<size_t>(kLineBytes);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (large) madvise(memory, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
  return static_cast<uint8_t*>(memory);
}

}  // namespace

TableMemory allocate_table(int64_t bytes, Error* error) {
  uint8_t* const memory = allocate(static_cast<size_t>(bytes));
  if (memory == nullptr) {
    error->fail("out of memory for %lld bytes of unpacked weights", static_cast<long long>(bytes));
    return nullptr;
  }
  held_bytes() += bytes;
  return TableMemory(memory, [bytes](uint8_t* each) {
    held_bytes() -= bytes;
    std::free(each);
  });
}

int64_t held_table_bytes() {
  return held_bytes();
}

}  // namespace edge
