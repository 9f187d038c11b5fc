// Random numbers that are the same on every platform, unlike <random>'s distributions: SplitMix64.
#pragma once

#include <cstdint>
#include <vector>

namespace edge {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  // Returns an integer from low to high, both included.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(0, 99) < percent; }
  // Returns a number in (-1, 1), more often small than large.
  float value() {
    const auto ratio = [this] { return static_cast<float>(between(-1000003, 1000003)) / 1000004.0f; };
    return ratio() * ratio();
  }
  std::vector<float> values(int64_t count, float largest = 1.0f) {
    std::vector<float> out(static_cast<size_t>(count));
    for (float& each : out) each = value() * largest;
    return out;
  }

 private:
  uint64_t state_;
};

}  // namespace edge
