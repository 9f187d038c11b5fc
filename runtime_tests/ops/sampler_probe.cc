// Prints what edge_runner::Sampler draws, for test_runner_sampling.py: logits float32 from stdin, ids
// to stdout. Arguments: temperature top_p top_k seed draws vocabulary.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "runner/sampler.h"

int main(int argc, char** argv) {
  if (argc != 7) return 1;
  const edge_runner::SamplingConfig config{std::atof(argv[1]), std::atof(argv[2]), std::atoll(argv[3]),
                                           std::strtoull(argv[4], nullptr, 10)};
  edge_runner::Sampler sampler(config);
  std::vector<float> logits(static_cast<size_t>(std::atoll(argv[6])));
  if (std::fread(logits.data(), sizeof(float), logits.size(), stdin) != logits.size()) return 1;
  for (long long i = 0; i < std::atoll(argv[5]); ++i) {
    std::printf("%lld\n", static_cast<long long>(sampler.sample(logits.data(), std::atoll(argv[6]))));
  }
  return 0;
}
