// Elastic weights: a parent of 8 bits as three packed tables, so that a narrow slice is run without reading
// the rest. edge/formats/elastic.py splits the parent:
//
//   base    bits2: the parent's slice of 2 bits, with its scales and zeros
//   middle  bits4: bits 3 to 6 of the parent's code
//   low     bits3: bits 0 to 2
//
// A slice of r bits is the code q divided by 2^(8-r), half rounded up, at most 2^r - 1. The base rounds
// too, so it is not the top of q: base 2 is q = 96 .. 159 and base 3 is q = 160 .. 255. Bit 7 is
//
//   base == 3   where bits 5 and 6 are both set (q is in 96 .. 127 or in 224 .. 255)
//   base >= 2   elsewhere
//
// At 2 bits the base runs as it lies in the program's file. Other slices are made once, up to 4 bits from
// base and middle, and held in memory as ordinary tables, which have the bits of the slice's own export.
#pragma once

#include "core/error.h"
#include "core/layout.h"
#include "core/unpacked_ternary.h"

namespace edge {

inline constexpr int kParentBits = 8;
inline constexpr int kBaseBits = 2;  // of the narrowest slice

struct PackedBytes {
  const uint8_t* data;
  int64_t bytes;
};

// The three tables of an elastic weight [n, k], in a program's file.
struct ElasticBytes {
  PackedBytes base, middle, low;
  int64_t n, k;
};

// Gives the slice of 2 to 8 bits. Makes it unless it is held; then the pages that it was made from are
// returned to the system. False and a sentence for other widths, damaged tables, or where memory is short.
bool runnable_slice(const ElasticBytes& weight, int bits, RunnableTable* runnable, Error* error);

// Lets go of all slices; those that are needed are made again.
void forget_slices();

}  // namespace edge
