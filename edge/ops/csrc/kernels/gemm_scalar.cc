// The portable kernel: plain C++ that any compiler may vectorise. Also the readable one.
#include <cstring>

#include "gemm.h"
#include "layout.h"

namespace edge {
namespace {

constexpr int kRows = static_cast<int>(kBlockRows);
constexpr int kLanes = static_cast<int>(kLineBytes);
constexpr int kQuads = static_cast<int>(kGroupColumns) / 4;
using GroupCodes = uint8_t[kQuads][kLanes];  // [quad of k][row * 4 + j]

// Spreads one plane of `bits` lines; `weight` is the value of the plane's lowest bit.
void add_plane(const uint8_t* lines, int bits, int weight, GroupCodes out) {
  const int positions = 8 / bits, mask = (1 << bits) - 1;
  for (int quad = 0; quad < kQuads; ++quad) {
    const uint8_t* line = lines + quad / positions * kLanes;
    const int shift = quad % positions * bits;
    for (int lane = 0; lane < kLanes; ++lane) {
      out[quad][lane] = static_cast<uint8_t>(out[quad][lane] + (line[lane] >> shift & mask) * weight);
    }
  }
}

void unpack_group(const uint8_t* lines, int code_bits, GroupCodes out) {
  std::memset(out, 0, sizeof(GroupCodes));
  if (code_bits == 3) {
    add_plane(lines, 2, 1, out);
    add_plane(lines + 2 * kLanes, 1, 4, out);
  } else {
    add_plane(lines, code_bits, 1, out);
  }
}

void multiply_group(const GroupCodes codes, const int8_t* q, int32_t* acc) {
  for (int quad = 0; quad < kQuads; ++quad) {
    const int32_t q0 = q[quad * 4], q1 = q[quad * 4 + 1], q2 = q[quad * 4 + 2], q3 = q[quad * 4 + 3];
    const uint8_t* lanes = codes[quad];
    for (int row = 0; row < kRows; ++row) {
      acc[row] +=
          lanes[row * 4] * q0 + lanes[row * 4 + 1] * q1 + lanes[row * 4 + 2] * q2 + lanes[row * 4 + 3] * q3;
    }
  }
}

void codes(const BlockCodes& block, const int8_t* q, int64_t q_stride, int64_t tokens, int32_t* acc) {
  std::memset(acc, 0, static_cast<size_t>(tokens * kRows) * sizeof(int32_t));
  GroupCodes group;
  for (int64_t column = 0; column < block.k_padded; column += kGroupColumns) {
    unpack_group(block.lines + column / kGroupColumns * block.code_bits * kLanes, block.code_bits, group);
    for (int64_t token = 0; token < tokens; ++token) {
      multiply_group(group, q + token * q_stride + column, acc + token * kRows);
    }
  }
}

void halves(const BlockCodes& block, const float* x, int64_t x_stride, int64_t columns, int64_t tokens,
            float* acc) {
  std::memset(acc, 0, static_cast<size_t>(tokens * kRows) * sizeof(float));
  for (int64_t column = 0; column < columns; ++column) {
    uint32_t lanes[kRows];  // an even column in the low half of each, an odd one in the high half
    float weights[kRows];
    std::memcpy(lanes, block.lines + column / 2 * kLanes, sizeof(lanes));
    const int shift = static_cast<int>(column % 2) * 16;
    for (int row = 0; row < kRows; ++row) lanes[row] = half_to_float_bits(lanes[row] >> shift & 0xffff);
    std::memcpy(weights, lanes, sizeof(weights));
    for (int64_t token = 0; token < tokens; ++token) {
      const float value = x[token * x_stride + column];
      for (int row = 0; row < kRows; ++row) acc[token * kRows + row] += weights[row] * value;
    }
  }
}

bool supported() {
  return true;
}

}  // namespace

const GemmKernel kGemmScalar = {"scalar", supported, codes, halves};

}  // namespace edge
