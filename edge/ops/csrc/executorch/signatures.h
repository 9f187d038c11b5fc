// The arguments of the operators. The runtime hands a kernel its arguments unchecked, and the kernel reads
// each as the type it expects, so the check of a program needs to know these types.
#pragma once

#include <string_view>

namespace edge::program {

// `arguments` has a letter for each argument, `result` one for what follows them, both as
// edge/ops/signatures.py writes them:
//     t tensor, w tensor that is written, l and m lists of these, q list of tensors or none, i int, d float,
//     b bool, n number, s string, j int list, e float list, c bool list; a capital also takes none
//     z divisor, x dimension of the first argument: numbers that are checked, because kernels do not
// Results: o the tensors that were written once more, a or v a tensor that comes to stand for the first
// argument or for a view of it, i, b, d numbers, u a number of the last two arguments' type; none where it is
// empty.
struct Signature {
  const char* name;  // with its overload
  const char* arguments;
  const char* result;
};

// Returns the signature of an operator, or null where the table has none.
const Signature* find_signature(std::string_view name);

}  // namespace edge::program
