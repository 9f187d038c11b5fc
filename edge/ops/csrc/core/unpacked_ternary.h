// Unpack ternary tables to 2-bit codes for kernels that are faster on those. Files hold ternary in base
// 3, 1.6 bits a weight; most instruction sets take longer to unpack that than to read 2 bits, so their
// kernels get the table as 2-bit codes, unpacked once when it is first met.
//
// Unpacked tables belong to the process and are found again by their content (the digest, which is checked
// against the codes when they are unpacked), never by an address, which another program could come to occupy.
// One that nothing has used for a while is freed when the next one is made.
#pragma once

#include <memory>

#include "core/error.h"
#include "core/layout.h"
#include "kernels/generic/kernel.h"

namespace edge {

// A table as a kernel runs it.
struct RunnableTable {
  PackedView view;
  std::shared_ptr<const void> owner;  // keeps unpacked codes alive while they are in use
};

// Gives `table` itself, or its 2-bit codes. False and a sentence when the codes do not match their digest or
// memory is short.
bool runnable_table(const PackedView& table, const Kernel& kernel, RunnableTable* runnable, Error* error);

// Bytes of unpacked tables that the process holds.
int64_t unpacked_ternary_bytes();

}  // namespace edge
