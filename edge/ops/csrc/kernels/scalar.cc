// The portable kernel: no intrinsics, the compiler's baseline instructions.
#include "make_kernel.h"
#include "portable.h"

namespace edge {
namespace {

bool supported() {
  return true;
}

}  // namespace

const Kernel kScalar = make_kernel<Portable>("scalar", supported);

}  // namespace edge
