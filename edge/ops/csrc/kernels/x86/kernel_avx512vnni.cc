// AVX-512 VNNI, from Cascade Lake and Zen 4 on.
#include "core/cpu_features.h"
#include "kernels/generic/make_kernel.h"
#include "kernels/x86/primitives_avx512vnni.h"

namespace edge {
namespace {

bool supported() {
  return cpu_features().avx512vnni;
}

}  // namespace

extern const Kernel kAvx512Vnni = make_kernel<Vnni512>("avx512vnni", supported);

}  // namespace edge
