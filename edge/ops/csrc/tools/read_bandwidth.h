// A pure read loop: the speed of decode if it only read its weights.
#pragma once

#include <cstdint>
#include <string>

namespace edge {

// Returns the XOR of all words, prefetching `ahead` bytes ahead (0: no prefetch).
uint64_t read_all(const uint8_t* data, int64_t bytes, int64_t ahead);

// Returns the seconds of the fastest of several passes over a mapped file that is already in memory; each
// thread reads its share. Returns 0 if the file cannot be mapped or has less than a line per thread.
double read_seconds(const std::string& path, int threads);

}  // namespace edge
