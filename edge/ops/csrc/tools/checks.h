// Comparisons of one kernel with the scalar kernel, bit for bit. Each returns false at the first difference,
// after printing its circumstances.
#pragma once

#include <string>
#include <vector>

#include "core/parallel.h"
#include "kernels/generic/kernel.h"
#include "tools/random.h"

namespace edge {

// Counts the values that were compared.
class Tally {
 public:
  bool same(const Kernel& kernel, const std::string& what, const std::vector<float>& want,
            const std::vector<float>& got);
  // Bytes that are not floats; counted as one comparison each.
  bool same_bytes(const Kernel& kernel, const std::string& what, const void* want, const void* got,
                  size_t size);
  long long compared() const { return compared_; }

 private:
  long long compared_ = 0;
};

ParallelFor serial();

// One random case of every weight format that the kernel runs.
bool check_linear(const Kernel& kernel, Random* random, Tally* tally);
// The largest sums there are: k = 65536, all codes largest, activations at +-127.
bool check_linear_extremes(const Kernel& kernel, Random* random, Tally* tally);
// One random case each of quantize, rms_norm and silu_mul.
bool check_floats(const Kernel& kernel, Random* random, Tally* tally);
// One random case each of attention over float32 and over int8 caches.
bool check_attention(const Kernel& kernel, Random* random, Tally* tally);

}  // namespace edge
