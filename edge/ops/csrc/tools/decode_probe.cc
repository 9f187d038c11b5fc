// lowbit_decode_probe: one product of one token, for edge/ops/arm_cost.py, which traces its instructions
// under an emulator. The table holds zeros and is not checked, because no kernel branches on its values.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/dispatch.h"
#include "core/linear.h"

namespace {

const char* const kUsage =
    "usage: lowbit_decode_probe KERNEL ENCODING COLUMNS GROUP ZEROS GATE BLOCKS\n"
    "ENCODING is a name of core/encodings.inc. GROUP is the columns that share a scale, 0 for one scale a "
    "row;\n"
    "ZEROS is 1 if each scale has a zero. GATE is 1 for SiLU(gate x) * up x, 0 for a residual that is "
    "added.\n"
    "BLOCKS of 16 rows of the result.\n";

void run_here(void*, int64_t count, int64_t, edge::ParallelFor::Body body, void* context) {
  body(context, 0, count);
}

const edge::EncodingTraits* find_encoding(const char* name) {
  for (const edge::EncodingTraits& encoding : edge::kEncodings) {
    if (std::strcmp(encoding.name, name) == 0) return &encoding;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  edge::Error error;
  const edge::EncodingTraits* encoding = argc == 8 ? find_encoding(argv[2]) : nullptr;
  const edge::Kernel* kernel = encoding != nullptr ? edge::find_kernel(argv[1], &error) : nullptr;
  if (kernel == nullptr) {
    std::fprintf(stderr, "lowbit_decode_probe: %s\n%s", error.message, kUsage);
    return 2;
  }
  const int64_t columns = std::atoll(argv[3]), group = std::atoll(argv[4]);
  const bool has_zeros = std::atoi(argv[5]) != 0, gate_up = std::atoi(argv[6]) != 0;
  const int64_t rows = std::atoll(argv[7]) * edge::kBlockRows, table_rows = gate_up ? 2 * rows : rows;

  const edge::ScaleType scales = group == 0 ? edge::ScaleType::kFloat32 : edge::ScaleType::kFloat16;
  const edge::TableForm form{encoding, group, scales, has_zeros, 0.0f};
  const edge::PackedHeader header = edge::expected_header(table_rows, columns, form);
  const std::vector<uint8_t> table(header.total_bytes);
  const edge::PackedView view = edge::view_of(header, form, table.data());

  const std::vector<float> x(static_cast<size_t>(columns));
  std::vector<float> y(static_cast<size_t>(rows));
  edge::LinearFusion fusion;
  fusion.gate_up = gate_up;
  fusion.residual = gate_up ? nullptr : y.data();
  int64_t scratch_bytes = 0;
  if (!edge::linear_scratch(1, view, fusion, &scratch_bytes, &error)) return 2;
  std::vector<uint8_t> scratch(static_cast<size_t>(scratch_bytes));
  edge::linear(x.data(), 1, view, fusion, *kernel, {run_here, nullptr}, scratch.data(), y.data());
  return 0;
}
