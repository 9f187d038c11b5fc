// Prints the kernels of the library and y = RMSNorm(x) by the one it selects.
#include <cstdio>

#include "core/c_api.h"

int main() {
  char error[256] = "";
  const char* selected = edge_selected_kernel(error, sizeof(error));
  const float x[] = {3.0f, 4.0f}, weight[] = {1.0f, 2.0f};
  float y[2] = {};
  if (selected == nullptr || edge_rms_norm(x, weight, 0.0f, 1, 2, nullptr, 1, y, error, sizeof(error)) != 0) {
    std::fprintf(stderr, "%s\n", error);
    return 1;
  }
  std::printf("%s\n%s\n%a %a\n%s\n", edge_kernel_names(), selected, y[0], y[1], edge_source_hash());
  return 0;
}
