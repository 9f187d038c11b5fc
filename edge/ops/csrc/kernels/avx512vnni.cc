// AVX-512 VNNI, from Cascade Lake and Zen 4 on.
#include "cpu_features.h"
#include "make_kernel.h"
#include "vnni512.h"

namespace edge {
namespace {

bool supported() {
  return cpu_features().avx512vnni;
}

}  // namespace

const Kernel kAvx512Vnni = make_kernel<Vnni512>("avx512vnni", supported);

}  // namespace edge
