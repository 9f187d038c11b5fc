// The portable kernel: plain C++ for the compiler's baseline instructions.
#include "kernels/generic/make_kernel.h"
#include "kernels/generic/primitives_generic.h"

namespace edge {
namespace {

bool supported() {
  return true;
}

}  // namespace

const Kernel kScalar = make_kernel<Portable>("scalar", supported);

}  // namespace edge
