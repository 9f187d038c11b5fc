#include "linear.h"

#include "quantize_act.h"

namespace edge {
namespace {

constexpr int64_t kTokenChunk = 16;            // tokens per call of a kernel; bounds its buffer
constexpr int64_t kWorkPerThread = 1 << 18;    // multiplications that are worth waking a thread
constexpr int64_t kValuesPerThread = 1 << 14;  // floats to quantise or copy, likewise

struct QuantizedTokens {
  int8_t* q;           // [tokens, k_padded]
  TokenScale* scales;  // [tokens]
};

QuantizedTokens carve(void* scratch, int64_t tokens) {
  auto* scales = static_cast<TokenScale*>(scratch);
  return {reinterpret_cast<int8_t*>(scales + tokens), scales};
}

// Finishes `tokens` x 16 accumulators of one block into y [tokens, n].
void finish_codes(const PackedView& weight, int64_t block, const int32_t* acc, const TokenScale* scales,
                  int64_t tokens, float* y) {
  const int32_t step = weight.format->step, offset = weight.format->offset;
  const int64_t row0 = block * kBlockRows;
  const int64_t rows = std::min(kBlockRows, weight.n - row0);
  for (int64_t row = 0; row < rows; ++row) {
    const float row_scale = weight.row_scale(row0 + row);
    for (int64_t token = 0; token < tokens; ++token) {
      const int32_t sum = step * acc[token * kBlockRows + row] + offset * scales[token].act_sum;
      y[token * weight.n + row0 + row] = static_cast<float>(sum) * row_scale * scales[token].scale;
    }
  }
}

// fp16 tables store alpha 1, so this multiplication changes nothing unless the table was altered.
void finish_halves(const PackedView& weight, int64_t block, const float* acc, int64_t tokens, float* y) {
  const int64_t row0 = block * kBlockRows;
  const int64_t rows = std::min(kBlockRows, weight.n - row0);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t token = 0; token < tokens; ++token) {
      y[token * weight.n + row0 + row] = acc[token * kBlockRows + row] * weight.row_scale(row0 + row);
    }
  }
}

void linear_codes(const float* x, int64_t tokens, const PackedView& weight, const GemmKernel& kernel,
                  const ParallelFor& parallel, const QuantizedTokens& acts, float* y) {
  auto quantize = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      acts.scales[t] =
          quantize_token(x + t * weight.k, weight.k, weight.k_padded, acts.q + t * weight.k_padded);
    }
  };
  parallel(tokens, grain_for(kValuesPerThread, weight.k), quantize);

  auto multiply = [&](int64_t begin, int64_t end) {
    int32_t acc[kTokenChunk * kBlockRows];
    for (int64_t block = begin; block < end; ++block) {
      const BlockCodes codes{weight.block(block), weight.k_padded, weight.format->code_bits};
      for (int64_t token = 0; token < tokens; token += kTokenChunk) {
        const int64_t count = std::min(kTokenChunk, tokens - token);
        kernel.codes(codes, acts.q + token * weight.k_padded, weight.k_padded, count, acc);
        finish_codes(weight, block, acc, acts.scales + token, count, y + token * weight.n);
      }
    }
  };
  parallel(weight.blocks(), grain_for(kWorkPerThread, tokens * weight.k_padded * kBlockRows), multiply);
}

void linear_halves(const float* x, int64_t tokens, const PackedView& weight, const GemmKernel& kernel,
                   const ParallelFor& parallel, float* y) {
  auto multiply = [&](int64_t begin, int64_t end) {
    float acc[kTokenChunk * kBlockRows];
    for (int64_t block = begin; block < end; ++block) {
      const BlockCodes halves{weight.block(block), weight.k_padded, weight.format->code_bits};
      for (int64_t token = 0; token < tokens; token += kTokenChunk) {
        const int64_t count = std::min(kTokenChunk, tokens - token);
        kernel.halves(halves, x + token * weight.k, weight.k, weight.k, count, acc);
        finish_halves(weight, block, acc, count, y + token * weight.n);
      }
    }
  };
  parallel(weight.blocks(), grain_for(kWorkPerThread, tokens * weight.k_padded * kBlockRows), multiply);
}

void read_row(const PackedView& table, int64_t row, float* out) {
  if (!table.format->is_quantized()) {
    for (int64_t j = 0; j < table.k; ++j) out[j] = read_half(table, row, j) * table.row_scale(row);
    return;
  }
  constexpr int64_t kChunk = 256;
  uint8_t codes[kChunk];
  const float alpha = table.alpha(row);
  for (int64_t first = 0; first < table.k; first += kChunk) {
    const int64_t count = std::min(kChunk, table.k - first);
    read_row_codes(table, row, first, count, codes);
    for (int64_t j = 0; j < count; ++j) {
      const int32_t level = table.format->step * codes[j] + table.format->offset;
      out[first + j] = static_cast<float>(level) * table.format->unit * alpha;
    }
  }
}

}  // namespace

int64_t linear_scratch_bytes(int64_t tokens, const PackedView& weight) {
  if (!weight.format->is_quantized()) return 0;
  return tokens * (weight.k_padded + static_cast<int64_t>(sizeof(TokenScale)));
}

void linear(const float* x, int64_t tokens, const PackedView& weight, const GemmKernel& kernel,
            const ParallelFor& parallel, void* scratch, float* y) {
  if (!weight.format->is_quantized()) return linear_halves(x, tokens, weight, kernel, parallel, y);
  linear_codes(x, tokens, weight, kernel, parallel, carve(scratch, tokens), y);
}

bool embedding(const int64_t* ids, int64_t count, const PackedView& table, float* out, Error* error) {
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= table.n) {
      return error->fail("token id %lld is outside the vocabulary of %lld", static_cast<long long>(ids[i]),
                         static_cast<long long>(table.n));
    }
  }
  for (int64_t i = 0; i < count; ++i) read_row(table, ids[i], out + i * table.k);
  return true;
}

}  // namespace edge
