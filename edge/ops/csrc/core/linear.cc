#include "core/linear.h"

#include "core/unpacked_ternary.h"

namespace edge {
namespace {

constexpr int64_t kWorkPerThread = 1 << 16;    // multiplications that are worth waking a thread
constexpr int64_t kValuesPerThread = 1 << 14;  // floats to quantise, likewise

Storage storage_of(const WeightFormat& format) {
  if (format.is_base3()) return Storage::kBase3;
  switch (format.code_bits) {
    case 1:
      return Storage::kBits1;
    case 2:
      return Storage::kBits2;
    case 3:
      return Storage::kBits3;
    case 4:
      return Storage::kBits4;
    case 8:
      return Storage::kBits8;
    default:
      return Storage::kHalf;
  }
}

// Kernels may read 4 columns beyond the padded ones.
int64_t q_stride_of(const PackedView& weight) {
  return round_up(weight.k_padded + 4, kColumnMultiple);
}

LinearJob job_for(const PackedView& weight, const LinearFusion& fusion, int64_t tokens, float* y) {
  LinearJob job{};
  job.storage = storage_of(*weight.format);
  job.codes = weight.codes;
  job.alphas = weight.alpha_bytes;
  job.block_bytes = weight.block_bytes();
  job.n = weight.n;
  job.k = weight.k;
  job.k_padded = weight.k_padded;
  job.step = weight.format->step;
  job.offset = weight.format->offset;
  job.unit = weight.format->unit;
  job.tokens = tokens;
  job.residual = fusion.residual;
  job.y_rows = fusion.gate_up ? weight.n / 2 : weight.n;
  job.up_block = fusion.gate_up ? job.y_rows / kBlockRows : 0;
  job.y = y;
  return job;
}

void quantize_tokens(const float* x, const LinearFusion& fusion, const Kernel& kernel,
                     const ParallelFor& parallel, void* scratch, LinearJob* job) {
  auto* scales = static_cast<TokenScale*>(scratch);
  auto* q = reinterpret_cast<int8_t*>(scales + job->tokens);
  auto quantize = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      scales[t] = kernel.quantize(x + t * job->k, fusion.norm_weight, fusion.eps, job->k, job->q_stride,
                                  q + t * job->q_stride);
    }
  };
  parallel(job->tokens, grain_for(kValuesPerThread, job->k), quantize);
  job->scales = scales;
  job->q = q;
}

void normalize_tokens(const float* x, const LinearFusion& fusion, const Kernel& kernel, void* scratch,
                      LinearJob* job) {
  job->x = x;
  if (fusion.norm_weight == nullptr) return;
  auto* normed = static_cast<float*>(scratch);
  for (int64_t t = 0; t < job->tokens; ++t) {
    kernel.rms_norm(x + t * job->k, fusion.norm_weight, fusion.eps, job->k, normed + t * job->k);
  }
  job->x = normed;
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

int64_t linear_scratch_bytes(int64_t tokens, const PackedView& weight, const LinearFusion& fusion) {
  if (weight.format->is_quantized()) {
    // The 2-bit form of a ternary table may have up to 63 columns more.
    const int64_t stride = q_stride_of(weight) + kColumnMultiple;
    return tokens * (stride + static_cast<int64_t>(sizeof(TokenScale)));
  }
  return fusion.norm_weight == nullptr ? 0 : tokens * weight.k * static_cast<int64_t>(sizeof(float));
}

bool linear(const float* x, int64_t tokens, const PackedView& weight, const LinearFusion& fusion,
            const Kernel& kernel, const ParallelFor& parallel, void* scratch, float* y, Error* error) {
  if (fusion.gate_up && weight.n % (2 * kBlockRows) != 0) {
    return error->fail("a table of gate and up must have a multiple of 32 rows, not %lld",
                       static_cast<long long>(weight.n));
  }
  RunForm form;
  if (!run_form(weight, kernel, &form, error)) return false;
  LinearJob job = job_for(form.view, fusion, tokens, y);
  job.q_stride = q_stride_of(form.view);
  if (form.view.format->is_quantized()) {
    quantize_tokens(x, fusion, kernel, parallel, scratch, &job);
  } else {
    normalize_tokens(x, fusion, kernel, scratch, &job);
  }
  auto multiply = [&](int64_t begin, int64_t end) { kernel.linear(job, begin, end); };
  const int64_t blocks = round_up(job.y_rows, kBlockRows) / kBlockRows;
  parallel(blocks, grain_for(kWorkPerThread, tokens * job.k_padded * kBlockRows), multiply);
  return true;
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
