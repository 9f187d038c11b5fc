// Vectors of floats as wide as the file's instruction set, as compiler extensions of GCC and Clang: compilers
// do not reliably vectorise loops with conditions. Every width divides 16, the number of lanes of our sums.
#pragma once

#include <cstdint>
#include <cstring>

namespace edge {
namespace {

#if defined(__AVX512F__)
constexpr int64_t kFloats = 16;
#elif defined(__AVX__)
constexpr int64_t kFloats = 8;
#else
constexpr int64_t kFloats = 4;
#endif

typedef float Floats __attribute__((vector_size(kFloats * 4)));
typedef uint32_t Words __attribute__((vector_size(kFloats * 4)));
typedef int32_t Ints __attribute__((vector_size(kFloats * 4)));  // also the result of comparisons: 0 or -1
typedef uint8_t Octets __attribute__((vector_size(kFloats * 4)));

inline Floats load_floats(const void* from) {
  Floats vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

inline Ints load_ints(const int32_t* from) {
  Ints vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

inline Octets load_octets(const uint8_t* from) {
  Octets vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// 16-bit words, each widened to 32 bits.
inline Words load_half_words(const void* from) {
  uint16_t halves __attribute__((vector_size(kFloats * 2)));
  std::memcpy(&halves, from, sizeof(halves));
  return __builtin_convertvector(halves, Words);
}

inline void store_floats(float* to, Floats vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

inline Floats to_floats(Ints vector) {
  return __builtin_convertvector(vector, Floats);
}

inline Floats splat(float value) {
  return value - Floats{};  // subtracting 0 changes no value, not even -0
}

}  // namespace
}  // namespace edge
