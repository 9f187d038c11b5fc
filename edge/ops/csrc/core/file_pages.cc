#include "core/file_pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#endif

namespace edge {

#if defined(__linux__)

namespace {

// Whether [begin, end) lies in one mapping of a file that this process cannot write to.
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
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + static_cast<uintptr_t>(bytes)) / page * page;
  if (begin >= end || !is_read_only_file(begin, end)) return;
  void* pages = reinterpret_cast<void*>(begin);
  // Advice of its own makes the range a mapping of its own: a later fault on the header in front of it
  // would else map these pages again, as neighbours that are in the page cache anyway.
  madvise(pages, end - begin, MADV_RANDOM);
  madvise(pages, end - begin, MADV_DONTNEED);
}

#else

void release_file_pages(const uint8_t*, int64_t) {}

#endif

}  // namespace edge
