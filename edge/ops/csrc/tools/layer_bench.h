// Times one token through the linears of a model's layers, op by op, beside a pure read of the same bytes.
#pragma once

namespace edge {

// Runs `lowbit_kernel_bench --layer DIM,QKV,OUT,FFN ...` and returns the exit code.
int layer_command(int argc, char** argv);

extern const char* const kLayerUsage;

}  // namespace edge
