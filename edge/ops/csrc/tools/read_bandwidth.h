// A pure read loop: what decoding could reach if it only read its weights.
#pragma once

#include <cstdint>
#include <string>

namespace edge {

// The XOR of all words, as wide as the CPU loads, asking `ahead` bytes ahead (0: not).
uint64_t read_all(const uint8_t* data, int64_t bytes, int64_t ahead);

// Seconds of the best of several passes over a mapped file that is already in memory, each thread
// reading its share; 0 when the file cannot be mapped or is smaller than a line a thread.
double read_seconds(const std::string& path, int threads);

}  // namespace edge
