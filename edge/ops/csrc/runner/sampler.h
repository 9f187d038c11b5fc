// Picks the next token from logits. Needs no ExecuTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "runner/random.h"

namespace edge_runner {

struct SamplingConfig {
  double temperature = 0;  // below 1e-6: greedy; the fields below are not used
  double top_p = 1;        // keep the most likely tokens that together reach this probability
  int64_t top_k = 0;       // keep this many of the most likely tokens; 0: all
  uint64_t seed = 0;
};

// Applies temperature, then top-k, then top-p to what is left, then draws once: a uniform number selects a
// token by cumulative weight, in the order of ids, or most likely first after top-k or top-p.
//
// Equal logits and configuration give equal ids on every platform and with every compiler: candidates have a
// total order (logit, then lower id), the exponential is edge::exp_deterministic, sums are doubles in a fixed
// order, and the generator uses integers only (built with -ffp-contract=off).
class Sampler {
 public:
  explicit Sampler(const SamplingConfig& config) : config_(config), random_(config.seed) {}

  // Returns an id for logits float32 [count], or -1 if one is NaN or +inf or all are -inf: the model is
  // broken. A token with -inf is never drawn.
  int64_t sample(const float* logits, int64_t count);

 private:
  struct Candidate {
    float logit;
    float weight;  // proportional to the probability; 1 for the best token
    int64_t id;
  };
  static bool likelier(const Candidate& a, const Candidate& b);
  void collect(const float* logits, int64_t count, float best);
  void keep_top_k();
  void keep_top_p();
  int64_t draw();

  SamplingConfig config_;
  SplitMix64 random_;
  std::vector<float> weights_;  // kept between calls, as candidates_, to reuse the memory
  std::vector<Candidate> candidates_;
};

// Returns the lowest id with the largest logit, or -1 as above.
int64_t argmax(const float* logits, int64_t count);

}  // namespace edge_runner
