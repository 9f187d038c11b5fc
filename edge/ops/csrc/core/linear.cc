#include "core/linear.h"

#include "core/limits.h"

namespace edge {
namespace {

constexpr int64_t kWorkPerThread = 1 << 16;    // multiplications that are worth waking a thread
constexpr int64_t kValuesPerThread = 1 << 14;  // floats to quantise, likewise

// Kernels may read 4 columns beyond the padded ones.
int64_t q_stride_of(const PackedView& weight) {
  return round_up(weight.k_padded + 4, kColumnMultiple);
}

int64_t groups_of(const PackedView& weight) {
  const int64_t columns = weight.form.group_columns;
  return columns == 0 ? 0 : group_count(weight.k_padded, columns);
}

LinearJob job_for(const PackedView& weight, const LinearFusion& fusion, int64_t tokens, float* y) {
  LinearJob job{};
  job.form = weight.form;
  job.codes = weight.codes;
  job.row_scales = weight.row_scales;
  job.row_zeros = weight.row_zeros;
  job.block_bytes = weight.block_bytes();
  job.n = weight.n;
  job.k = weight.k;
  job.k_padded = weight.k_padded;
  job.levels = integer_levels(weight.form.zero);
  job.inverse_step = 1.0f / static_cast<float>(job.levels.step);
  job.groups = groups_of(weight);
  job.tokens = tokens;
  job.residual = fusion.residual;
  job.y_rows = fusion.gate_up ? weight.n / 2 : weight.n;
  job.gelu = fusion.gelu;
  job.up_block = fusion.gate_up ? job.y_rows / kBlockRows : 0;
  job.y = y;
  return job;
}

void sum_groups(const int8_t* q, const LinearJob& job, int32_t* sums) {
  const int64_t columns = job.form.group_columns;
  for (int64_t group = 0; group < job.groups; ++group) {
    const int64_t end = std::min((group + 1) * columns, job.k_padded);
    int32_t sum = 0;
    for (int64_t column = group * columns; column < end; ++column) sum += q[column];
    sums[group] = sum;
  }
}

void quantize_tokens(const float* x, const LinearFusion& fusion, const Kernel& kernel,
                     const ParallelFor& parallel, void* scratch, LinearJob* job) {
  auto* scales = static_cast<TokenScale*>(scratch);
  auto* sums = reinterpret_cast<int32_t*>(scales + job->tokens);
  auto* q = reinterpret_cast<int8_t*>(sums + job->tokens * job->groups);
  auto quantize = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int8_t* row = q + t * job->q_stride;
      scales[t] = kernel.quantize(x + t * job->k, fusion.norm_weight, fusion.eps, job->k, job->q_stride, row);
      sum_groups(row, *job, sums + t * job->groups);
    }
  };
  parallel(job->tokens, grain_for(kValuesPerThread, job->k), quantize);
  job->scales = scales;
  job->group_sums = sums;
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

// Dequantises a row; a run of columns shares scale and zero.
void read_row(const PackedView& table, int64_t row, float* out) {
  if (!table.form.encoding->is_quantized()) {
    for (int64_t j = 0; j < table.k; ++j) out[j] = read_half(table, row, j) * scale_at(table, row, 0);
    return;
  }
  uint8_t codes[kMaxGroupColumns];
  const int64_t run = table.form.group_columns == 0 ? kMaxGroupColumns : table.form.group_columns;
  for (int64_t first = 0; first < table.k; first += run) {
    const int64_t count = std::min(run, table.k - first);
    const float scale = scale_at(table, row, first), zero = zero_at(table, row, first);
    read_row_codes(table, row, first, count, codes);
    for (int64_t j = 0; j < count; ++j) out[first + j] = (static_cast<float>(codes[j]) - zero) * scale;
  }
}

}  // namespace

bool linear_scratch(int64_t tokens, const PackedView& weight, const LinearFusion& fusion, int64_t* bytes,
                    Error* error) {
  if (!check_rows("linear", tokens, std::max(weight.n, weight.k), error)) return false;
  if (fusion.gate_up && weight.n % (2 * kBlockRows) != 0) {
    return error->fail("a table of gate and up must have a multiple of 32 rows, not %lld",
                       static_cast<long long>(weight.n));
  }
  if (weight.form.encoding->is_quantized()) {
    const int64_t sums = groups_of(weight) * static_cast<int64_t>(sizeof(int32_t));
    *bytes = tokens * (q_stride_of(weight) + sums + static_cast<int64_t>(sizeof(TokenScale)));
  } else {
    *bytes = fusion.norm_weight == nullptr ? 0 : tokens * weight.k * static_cast<int64_t>(sizeof(float));
  }
  return true;
}

void linear(const float* x, int64_t tokens, const PackedView& weight, const LinearFusion& fusion,
            const Kernel& kernel, const ParallelFor& parallel, void* scratch, float* y) {
  LinearJob job = job_for(weight, fusion, tokens, y);
  job.q_stride = q_stride_of(weight);
  if (weight.form.encoding->is_quantized()) {
    quantize_tokens(x, fusion, kernel, parallel, scratch, &job);
  } else {
    normalize_tokens(x, fusion, kernel, scratch, &job);
  }
  auto multiply = [&](int64_t begin, int64_t end) { kernel.linear(job, begin, end); };
  const int64_t blocks = round_up(job.y_rows, kBlockRows) / kBlockRows;
  parallel(blocks, grain_for(kWorkPerThread, tokens * job.k_padded * kBlockRows), multiply);
}

bool embedding(const int64_t* ids, int64_t count, const PackedView& table, float* out, Error* error) {
  if (!check_rows("embedding", count, table.k, error)) return false;
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
