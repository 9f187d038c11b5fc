// Compares a kernel with the scalar kernel, bit for bit. Each check returns false at the first difference,
// after printing it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "kernels/generic/kernel.h"
#include "tools/random.h"

namespace edge {

// Compares results, counts them, and digests them: equal inputs give equal digests with every compiler and on
// every CPU.
class Tally {
 public:
  bool same(const Kernel& kernel, const std::string& what, const std::vector<float>& want,
            const std::vector<float>& got);
  // Compares bytes, for results that are not float32.
  bool same_bytes(const Kernel& kernel, const std::string& what, const void* want, const void* got,
                  size_t size);
  long long compared() const { return compared_; }
  uint64_t digest() const { return digest_; }

 private:
  void add(uint32_t value) {  // FNV-1a, a value at a time
    ++compared_;
    digest_ = (digest_ ^ value) * 0x100000001b3u;
  }

  long long compared_ = 0;
  uint64_t digest_ = 0xcbf29ce484222325u;
};

ParallelFor serial();

// Checks one random case of every weight format that the kernel runs.
bool check_linear(const Kernel& kernel, Random* random, Tally* tally);
// Checks the largest possible sums: k = 65536, all codes largest, activations at +-127.
bool check_linear_extremes(const Kernel& kernel, Random* random, Tally* tally);
// Checks one random case each of quantize, rms_norm and gate_mul.
bool check_floats(const Kernel& kernel, Random* random, Tally* tally);
// Checks the slices of one random elastic weight against their formula; no kernel takes part.
bool check_elastic(Random* random, Tally* tally);
// Checks one random case each of attention over every type of cache.
bool check_attention(const Kernel& kernel, Random* random, Tally* tally);

}  // namespace edge
