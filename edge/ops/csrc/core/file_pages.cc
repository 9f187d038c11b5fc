#include "core/file_pages.h"

#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdio>
#endif

namespace edge {

#if defined(__linux__)

namespace {

// Returns true if [begin, end) lies in one read-only mapping of a file.
bool is_read_only_file(uintptr_t begin, uintptr_t end) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  char line[512], permissions[5];
  uintptr_t low, high;
  unsigned long inode;
  bool found = false;
  while (!found && std::fgets(line, sizeof(line), maps) != nullptr) {
    const int fields =
        std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu", &low, &high, permissions, &inode);
    found = fields == 4 && low <= begin && end <= high && permissions[0] == 'r' && permissions[1] == '-' &&
            inode != 0;
  }
  std::fclose(maps);
  return found;
}

}  // namespace

void release_file_pages(const uint8_t* data, int64_t bytes) {
  const auto page = static_cast<uintptr_t>(getauxval(AT_PAGESZ));
  const auto first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + static_cast<uintptr_t>(bytes)) / page * page;
  if (begin >= end || !is_read_only_file(begin, end)) return;
  void* pages = reinterpret_cast<void*>(begin);
  // MADV_RANDOM splits the range off into its own mapping. Otherwise a later page fault on the header would
  // map these pages again as its neighbours in the page cache.
  madvise(pages, end - begin, MADV_RANDOM);
  madvise(pages, end - begin, MADV_DONTNEED);
}

#else

void release_file_pages(const uint8_t*, int64_t) {}

#endif

}  // namespace edge
