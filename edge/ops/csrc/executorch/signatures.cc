#include "executorch/signatures.h"

#include <algorithm>
#include <iterator>

namespace edge::program {
namespace {

// Sorted by name.
#include "executorch/signatures.inc"

}  // namespace

const Signature* find_signature(std::string_view name) {
  const auto before = [](const Signature& row, std::string_view wanted) { return row.name < wanted; };
  const Signature* found = std::lower_bound(std::begin(kSignatures), std::end(kSignatures), name, before);
  return found != std::end(kSignatures) && found->name == name ? found : nullptr;
}

}  // namespace edge::program
