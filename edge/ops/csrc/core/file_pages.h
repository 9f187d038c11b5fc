// Returns the memory of a mapped file to the system.
#pragma once

#include <cstdint>

namespace edge {

// Drops the whole pages of data[0, bytes) if they belong to a read-only mapping of a file; the system reads
// them again on the next access. Leaves any other memory alone, because its content would be lost.
void release_file_pages(const uint8_t* data, int64_t bytes);

}  // namespace edge
