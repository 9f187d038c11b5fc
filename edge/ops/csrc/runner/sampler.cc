#include "runner/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/deterministic_math.h"

namespace edge_runner {

int64_t argmax(const float* logits, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(logits[i])) return -1;
    if (logits[i] > logits[best]) best = i;
  }
  return count > 0 && std::isfinite(logits[best]) ? best : -1;
}

int64_t Sampler::sample(const float* logits, int64_t count) {
  constexpr double kGreedyBelow = 1e-6;  // keeps (difference of logits) / temperature from becoming NaN
  const int64_t best = argmax(logits, count);
  if (best < 0 || config_.temperature < kGreedyBelow) return best;
  collect(logits, count, logits[best]);
  keep_top_k();
  keep_top_p();
  return draw();
}

bool Sampler::likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Drops tokens whose weight rounds to 0: they cannot be drawn.
void Sampler::collect(const float* logits, int64_t count, float best) {
  const float inverse = static_cast<float>(1 / config_.temperature);
  weights_.resize(static_cast<size_t>(count));
  float* weights = weights_.data();
  for (int64_t id = 0; id < count; ++id) {  // a loop of its own, so that it is vectorised
    weights[id] = edge::exp_deterministic((logits[id] - best) * inverse);
  }
  candidates_.resize(static_cast<size_t>(count));
  size_t kept = 0;
  for (int64_t id = 0; id < count; ++id) {  // no branches: always writes, advances only past kept tokens
    candidates_[kept] = {logits[id], weights[id], id};
    kept += weights[id] > 0 ? 1 : 0;
  }
  candidates_.resize(kept);
}

// Sorts, because the sums below need a fixed order and that of nth_element depends on the library.
void Sampler::keep_top_k() {
  if (config_.top_k <= 0 || config_.top_k >= static_cast<int64_t>(candidates_.size())) return;
  const auto end = candidates_.begin() + config_.top_k;
  std::nth_element(candidates_.begin(), end, candidates_.end(), likelier);
  candidates_.erase(end, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

// Takes the most likely from a heap until they reach p, which is faster than sorting a whole vocabulary.
void Sampler::keep_top_p() {
  if (config_.top_p >= 1) return;
  double total = 0, sum = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const auto less_likely = [](const Candidate& a, const Candidate& b) { return likelier(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  auto end = candidates_.end();
  do {  // keeps the most likely token even for p = 0
    std::pop_heap(candidates_.begin(), end, less_likely);
    sum += (--end)->weight;
  } while (end != candidates_.begin() && sum < config_.top_p * total);
  candidates_.erase(candidates_.begin(), end);
  std::reverse(candidates_.begin(), candidates_.end());  // most likely first, as after top-k
}

int64_t Sampler::draw() {
  double total = 0, sum = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const double target = random_.uniform() * total;
  for (const Candidate& candidate : candidates_) {
    sum += candidate.weight;
    if (target < sum) return candidate.id;
  }
  return candidates_.back().id;  // the target rounded to the total
}

}  // namespace edge_runner
