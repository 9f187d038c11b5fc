// What the fuzz targets share: kernels, random loops, and a comparison that aborts at a difference.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "tools/random.h"

namespace edge {

// The kernels that this CPU runs; the last is the scalar one.
inline const std::vector<const Kernel*>& fuzzed_kernels() {
  static const std::vector<const Kernel*> kernels = [] {
    std::vector<const Kernel*> found;
    const std::string names = kernel_names();
    for (size_t begin = 0; begin < names.size();) {
      const size_t end = std::min(names.find(',', begin), names.size());
      Error error;
      const Kernel* kernel = find_kernel(names.substr(begin, end - begin).c_str(), &error);
      if (kernel != nullptr) found.push_back(kernel);
      begin = end + 1;
    }
    return found;
  }();
  return kernels;
}

[[noreturn]] inline void differs(const char* kernel, const std::string& what) {
  std::fprintf(stderr, "FINDING: %s: %s differs from the scalar kernel\n", kernel, what.c_str());
  std::abort();
}

// Equal to the bit; NaN equals NaN, because payloads are not defined.
inline void must_equal(const char* kernel, const std::string& what, const std::vector<float>& want,
                       const std::vector<float>& got) {
  bool same = want.size() == got.size();
  for (size_t i = 0; same && i < want.size(); ++i) {
    same = std::memcmp(&want[i], &got[i], sizeof(float)) == 0 || (std::isnan(want[i]) && std::isnan(got[i]));
  }
  if (!same) differs(kernel, what);
}

// Runs a loop in *pool parts, the last first, as threads might.
inline ParallelFor in_parts(int64_t* parts) {
  const auto run = [](void* pool, int64_t count, int64_t, ParallelFor::Body body, void* context) {
    const int64_t most = *static_cast<const int64_t*>(pool);
    for (int64_t part = most; part-- > 0;) body(context, count * part / most, count * (part + 1) / most);
  };
  return {run, parts};
}

// Values that go wrong easily: one scale, and a few of NaN, infinities and the largest and smallest floats.
inline std::vector<float> fuzzed_values(FuzzedDataProvider* data, int64_t count, Random* random) {
  constexpr float kScales[] = {1.0f, 1.0f, 100.0f, 1e-3f, 3e38f, 1e-37f, 1e-42f, 0.0f};
  constexpr float kOdd[] = {NAN, INFINITY, -INFINITY, -0.0f, 3.4e38f, -3.4e38f, 1e-45f, 1.1754944e-38f};
  std::vector<float> values = random->values(count, data->PickValueInArray(kScales));
  for (int64_t odd = count > 0 ? data->ConsumeIntegralInRange<int64_t>(0, 3) : 0; odd > 0; --odd) {
    values[data->ConsumeIntegralInRange<size_t>(0, values.size() - 1)] = data->PickValueInArray(kOdd);
  }
  return values;
}

}  // namespace edge
