// The form of a table that a kernel runs. Files hold ternary in base 3, 1.6 bits a weight; unpacking
// that costs most instruction sets more time than reading 2 bits does, so their kernels get the table as
// 2-bit codes, unpacked once when it is first met.
//
// Unpacked forms belong to the process and are found again by the table's content (its digest, which is
// checked against the codes when they are unpacked), never by an address, which another program could
// come to occupy. A form that nothing has used for a while is freed when the next one is made.
#pragma once

#include <memory>

#include "core/error.h"
#include "core/layout.h"
#include "kernels/generic/kernel.h"

namespace edge {

struct RunForm {
  PackedView view;
  std::shared_ptr<const void> owner;  // keeps unpacked codes alive while they are in use
};

// `table` itself, or its 2-bit form. False and a sentence when the codes do not match their digest or
// memory is short.
bool run_form(const PackedView& table, const Kernel& kernel, RunForm* form, Error* error);

// Bytes of unpacked forms that the process holds.
int64_t run_form_bytes();

}  // namespace edge
