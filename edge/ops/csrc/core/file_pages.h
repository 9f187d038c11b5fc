// Gives memory back that a mapped file occupies.
#pragma once

#include <cstdint>

namespace edge {

// Drops this process's hold on the whole pages of data[0, bytes) if they are a read-only mapping of a
// file: the kernel reads them again should anyone ask, from the page cache or the disk. Does nothing to
// any other memory, whose content that would destroy.
void release_file_pages(const uint8_t* data, int64_t bytes);

}  // namespace edge
