// Activations: int8, dynamic, per token, symmetric.
#pragma once

#include <cstdint>

namespace edge {

struct TokenScale {
  float scale;      // activation = q * scale; NaN marks a row that held inf or NaN
  int32_t act_sum;  // sum of q
};

// Quantises x[k] to q[k_padded] (zeros behind k): scale = max|x| / 127 and
// q = round_half_even(x * (127 / max|x|)), within [-127, 127].
// A row of zeros, or one so small that 127 / max|x| is not finite (below 4e-37), gives scale 0.
// A row with inf or NaN gives q = 0 and scale NaN, so that its whole output is NaN.
TokenScale quantize_token(const float* x, int64_t k, int64_t k_padded, int8_t* q);

}  // namespace edge
