// Unpack ternary tables to 2-bit codes for kernels that are faster on those. Files hold ternary in base
// 3, 1.6 bits a weight; most instruction sets take longer to unpack that than to read 2 bits, so their
// kernels get the table as 2-bit codes. The digest of a table is checked whenever its codes are unpacked.
//
// Tables of programs are unpacked once and found again by the address of their codes, which costs a look-up
// no reading of codes. An address says nothing once a program is closed, because another may come to lie
// there; so whoever opens or closes programs calls `programs_changed`, and every table is examined anew: its
// codes are unpacked and compared, byte by byte, with the tables of equal digest and shape that programs
// hold. Equal tables share one copy, different ones never do, whatever their digests. The last program that
// is closed frees its copy.
//
// A look-up also compares the header's digest, the shape and the first 64 bytes of codes with the table that
// was examined. That is all there is for a runtime that does not say when it closes programs (ExecuTorch's
// own runners): if it opens, at the address of a program that it closed, one that differs from it only in
// later codes and has the same digest (so it was altered, or forged), the weights of the first one run.
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

// Both give `table` itself, or its 2-bit codes where the kernel needs those. False and a sentence when the
// codes do not match their digest or memory is short.
//
// For a table of a program, whose bytes stay as they are while the program is open.
bool runnable_of_program(const PackedView& table, const Kernel& kernel, RunnableTable* runnable,
                         Error* error);
// For any other: unpacks at every call and keeps nothing.
bool runnable_copy(const PackedView& table, const Kernel& kernel, RunnableTable* runnable, Error* error);

// Forgets the addresses of all tables: call it after a program is opened, before it runs, and when one is
// closed.
void programs_changed();

}  // namespace edge
