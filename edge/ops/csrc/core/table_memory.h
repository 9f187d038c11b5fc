// Memory for tables that are held in another form than their program's file has them.
#pragma once

#include <cstdint>
#include <memory>

#include "core/error.h"

namespace edge {

using TableMemory = std::shared_ptr<uint8_t>;

// Allocates at least `bytes`, aligned to lines, not cleared; null with a sentence where memory is short.
TableMemory allocate_table(int64_t bytes, Error* error);

// Counts the bytes of all such tables in this process.
int64_t held_table_bytes();

}  // namespace edge
