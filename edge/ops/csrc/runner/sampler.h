// Picks the next token from logits, outside the graph. Needs no ExecuTorch.
#pragma once

#include <cstdint>
#include <vector>

#include "runner/random.h"

namespace edge_runner {

struct SamplingConfig {
  double temperature = 0;  // below 1e-6: greedy, and the rest is not used
  double top_p = 1;        // keep the likeliest tokens that together reach this probability
  int64_t top_k = 0;       // keep this many of the likeliest; 0: all
  uint64_t seed = 0;
};

// Temperature, then top-k, then top-p over what is left, then one draw: a uniform number walks down
// the tokens, by id where nothing was cut and likeliest first where something was.
//
// For equal logits and configuration the ids are the same on every platform and with every compiler:
// the order of candidates is total (logit, then the lower id), the exponential is
// edge::exp_deterministic, sums are in double in a fixed order, and the generator is integer
// arithmetic; built with -ffp-contract=off. Where logits differ in their last bits, a draw that falls
// between two tokens may go the other way, and the texts part from there.
class Sampler {
 public:
  explicit Sampler(const SamplingConfig& config) : config_(config), random_(config.seed) {}

  // logits float32 [count] -> an id, or -1 when one is NaN or +inf or all are -inf: the model is broken.
  // One -inf is a token that is never drawn.
  int64_t sample(const float* logits, int64_t count);

 private:
  struct Candidate {
    float logit;
    float weight;  // in proportion to the probability; the best token's is 1
    int64_t id;
  };
  static bool likelier(const Candidate& a, const Candidate& b);
  void collect(const float* logits, int64_t count, float best);
  void keep_top_k();
  void keep_top_p();
  int64_t draw();

  SamplingConfig config_;
  SplitMix64 random_;
  std::vector<float> weights_;  // this and the next are kept between calls for their memory
  std::vector<Candidate> candidates_;
};

// The lowest id among the largest logits; -1 as above.
int64_t argmax(const float* logits, int64_t count);

}  // namespace edge_runner
