// The ops of the C API: sizes, positions, tokens, values that are not finite, kernels and threads. A call
// that is accepted has the bits of the scalar kernel and writes nothing outside its outputs; one that the
// scalar kernel refuses is refused with every kernel.
#include <cstdint>
#include <functional>

#include "core/attention_job.h"
#include "core/c_api.h"
#include "fuzz/fuzz.h"

namespace edge {
namespace {

constexpr size_t kErrorBytes = 256;

// Sizes that no op takes: with one of them, a call must be refused before it touches its buffers.
constexpr int64_t kWild[] = {
    INT64_MIN,        INT64_MIN + 1, -1,       (int64_t{1} << 40) + 1, int64_t{1} << 60,
    int64_t{1} << 61, INT64_MAX - 1, INT64_MAX};

// Replaces a size by a wild one, now and then. Returns whether it did.
bool make_wild(FuzzedDataProvider* data, int64_t* size) {
  if (data->ConsumeIntegralInRange(0, 30) != 0) return false;
  *size = data->PickValueInArray(kWild);
  return true;
}

// Calls an op with the scalar kernel and then with each, and compares what they write.
// call(kernel, threads, outputs, error): returns the op's status.
using Outputs = std::vector<std::vector<float>>;
using Call = std::function<int(const char* kernel, int threads, Outputs* outputs, char* error)>;

void compare(FuzzedDataProvider* data, const char* op, bool wild, const Outputs& before, const Call& call) {
  const int threads = data->ConsumeIntegralInRange(1, 20) == 1 ? 2 : 1;
  char why[kErrorBytes] = "", error[kErrorBytes] = "";
  Outputs want = before;
  const int status = call(kScalar.name, 1, &want, why);
  if (wild && status == 0) differs(kScalar.name, std::string(op) + " accepts a wild size, which");
  for (const Kernel* kernel : fuzzed_kernels()) {
    Outputs got = before;
    if (call(kernel->name, threads, &got, error) != status || std::strcmp(why, error) != 0) {
      differs(kernel->name, std::string(op) + ": what it refuses");
    }
    for (size_t i = 0; i < want.size(); ++i) must_equal(kernel->name, op, want[i], got[i]);
  }
  if (call(kScalar.name, data->PickValueInArray({0, -1, INT32_MIN, INT32_MAX}), &want, error) == 0) {
    differs(kScalar.name, std::string(op) + " accepts wild threads, which");
  }
}

std::vector<float> blank(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count), 7.0f);
}

void fuzz_rms_norm(FuzzedDataProvider* data, Random* random) {
  int64_t rows = data->ConsumeIntegralInRange<int64_t>(0, 4),
          dim = data->ConsumeIntegralInRange<int64_t>(1, 200);
  const std::vector<float> x = fuzzed_values(data, rows * dim, random);
  const std::vector<float> weight = fuzzed_values(data, dim, random);
  const Outputs before = {blank(rows * dim)};
  const bool wild = make_wild(data, &rows) || make_wild(data, &dim);
  compare(data, "rms_norm", wild, before, [&](const char* kernel, int threads, Outputs* out, char* error) {
    return edge_rms_norm(x.data(), weight.data(), 1e-5f, rows, dim, kernel, threads, (*out)[0].data(), error,
                         kErrorBytes);
  });
}

void fuzz_gate_mul(FuzzedDataProvider* data, Random* random) {
  int64_t count = data->ConsumeIntegralInRange<int64_t>(0, 300);
  const std::vector<float> gate = fuzzed_values(data, count, random), up = fuzzed_values(data, count, random);
  const Outputs before = {blank(count)};
  const int gelu = data->ConsumeBool();
  const bool wild = make_wild(data, &count);
  compare(data, "gate_mul", wild, before, [&](const char* kernel, int threads, Outputs* out, char* error) {
    return edge_gate_mul(gate.data(), up.data(), count, gelu, kernel, threads, (*out)[0].data(), error,
                         kErrorBytes);
  });
}

// The op has no threads: 0 and the like are accepted, so its status stands for theirs.
void fuzz_quantize(FuzzedDataProvider* data, Random* random) {
  int64_t tokens = data->ConsumeIntegralInRange<int64_t>(0, 4),
          k = data->ConsumeIntegralInRange<int64_t>(1, 200);
  int64_t k_padded = k + data->ConsumeIntegralInRange<int64_t>(0, 70);
  const std::vector<float> x = fuzzed_values(data, tokens * k, random);
  const int64_t room = tokens * k_padded;
  const Outputs before = {blank(room), blank(tokens), blank(tokens)};
  const bool wild = make_wild(data, &tokens) || make_wild(data, &k) || make_wild(data, &k_padded);
  compare(data, "quantize", wild, before, [&](const char* kernel, int threads, Outputs* out, char* error) {
    if (threads < 1 || threads > 2) return 1;
    std::vector<int8_t> q(static_cast<size_t>(room));
    std::vector<int32_t> sums((*out)[2].size());
    const int status = edge_quantize_activations(x.data(), tokens, k, k_padded, kernel, q.data(),
                                                 (*out)[1].data(), sums.data(), error, kErrorBytes);
    (*out)[0].assign(q.begin(), q.end());
    for (size_t i = 0; i < sums.size(); ++i) (*out)[2][i] = static_cast<float>(sums[i]);
    return status;
  });
}

struct Attention {
  AttentionShape shape;
  CacheType cache;
  bool wild;
  float cap;
  std::vector<float> qkv, cos, sin, keys, values;  // of integer caches: the scales of keys and values
  std::vector<uint8_t> key_bytes, value_bytes;
};

AttentionShape attention_shape(FuzzedDataProvider* data, CacheType cache) {
  AttentionShape s{};
  const int64_t step = cache == CacheType::kInt4 ? 8 : cache == CacheType::kInt8 ? 4 : 2;
  s.kv_heads = data->ConsumeIntegralInRange<int64_t>(1, 2);
  s.heads = s.kv_heads * data->ConsumeIntegralInRange<int64_t>(1, 5);
  s.head_dim = step * data->ConsumeIntegralInRange<int64_t>(1, data->ConsumeBool() ? 8 : 64 / step);
  s.positions = data->ConsumeIntegralInRange<int64_t>(1, 140);
  s.capacity = (s.positions + kTile - 1) / kTile * kTile;
  s.tokens = data->ConsumeIntegralInRange<int64_t>(1, std::min<int64_t>(s.positions, 7));
  s.start_pos = data->ConsumeIntegralInRange<int64_t>(0, s.positions - s.tokens);
  if (data->ConsumeBool()) {
    s.window = data->ConsumeIntegralInRange<int64_t>(1, 100);
    s.capacity = (s.window + kTile - 1) / kTile * kTile;
  }
  return s;
}

Attention attention_case(FuzzedDataProvider* data, Random* random) {
  Attention a{};
  a.cache = data->PickValueInArray({CacheType::kFloat32, CacheType::kInt8, CacheType::kInt4});
  const bool is_float = a.cache == CacheType::kFloat32;
  AttentionShape& s = a.shape = attention_shape(data, a.cache);
  a.qkv = fuzzed_values(data, s.tokens * (s.heads + 2 * s.kv_heads) * s.head_dim, random);
  a.cos = fuzzed_values(data, s.positions * s.head_dim / 2, random);
  a.sin = fuzzed_values(data, s.positions * s.head_dim / 2, random);
  const int64_t rows = s.kv_heads * s.capacity, cells = rows * s.head_dim;
  a.keys = fuzzed_values(data, is_float ? cells : rows, random);
  a.values = fuzzed_values(data, is_float ? cells : rows, random);
  const int64_t bytes = is_float ? 0 : a.cache == CacheType::kInt4 ? cells / 2 : cells;
  for (int64_t i = 0; i < bytes; ++i) {
    a.key_bytes.push_back(static_cast<uint8_t>(random->bits()));
    a.value_bytes.push_back(static_cast<uint8_t>(random->bits()));
  }
  a.cap = data->ConsumeBool() ? 0.0f : static_cast<float>(data->ConsumeIntegralInRange(1, 60));
  a.wild = make_wild(data, &s.tokens) || make_wild(data, &s.heads) || make_wild(data, &s.kv_heads) ||
           make_wild(data, &s.head_dim) || make_wild(data, &s.capacity) || make_wild(data, &s.start_pos) ||
           make_wild(data, &s.window);
  if (data->ConsumeIntegralInRange(0, 50) == 0) s.start_pos = data->ConsumeIntegral<int64_t>();
  return a;
}

void fuzz_attention(FuzzedDataProvider* data, Random* random) {
  const Attention a = attention_case(data, random);
  const AttentionShape& s = a.shape;
  // Room for the outputs of the shape before it was made wild, at most qkv's.
  const Outputs before = {std::vector<float>(a.qkv.size(), 7.0f),
                          a.keys,
                          a.values,
                          {a.key_bytes.begin(), a.key_bytes.end()},
                          {a.value_bytes.begin(), a.value_bytes.end()}};
  compare(data, "attention", a.wild, before, [&](const char* kernel, int threads, Outputs* out, char* error) {
    float *y = (*out)[0].data(), *keys = (*out)[1].data(), *values = (*out)[2].data();
    if (a.cache == CacheType::kFloat32) {
      return edge_attention(a.qkv.data(), a.cos.data(), a.sin.data(), keys, values, s.tokens, s.heads,
                            s.kv_heads, s.head_dim, s.capacity, s.positions, s.start_pos, s.window, a.cap,
                            kernel, threads, y, error, kErrorBytes);
    }
    std::vector<uint8_t> k = a.key_bytes, v = a.value_bytes;
    const auto run = [&](auto op, auto* k_cache, auto* v_cache) {
      return op(a.qkv.data(), a.cos.data(), a.sin.data(), k_cache, v_cache, keys, values, s.tokens, s.heads,
                s.kv_heads, s.head_dim, s.capacity, s.positions, s.start_pos, s.window, a.cap, kernel,
                threads, y, error, kErrorBytes);
    };
    const int status = a.cache == CacheType::kInt4
                           ? run(edge_attention_int4, k.data(), v.data())
                           : run(edge_attention_int8, reinterpret_cast<int8_t*>(k.data()),
                                 reinterpret_cast<int8_t*>(v.data()));
    (*out)[3].assign(k.begin(), k.end());
    (*out)[4].assign(v.begin(), v.end());
    return status;
  });
}

void fuzz(FuzzedDataProvider data) {
  Random random(data.ConsumeIntegral<uint64_t>());
  const int op = data.ConsumeIntegralInRange(0, 7);
  if (op == 0) return fuzz_rms_norm(&data, &random);
  if (op == 1) return fuzz_gate_mul(&data, &random);
  if (op == 2) return fuzz_quantize(&data, &random);
  fuzz_attention(&data, &random);
}

}  // namespace
}  // namespace edge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  edge::fuzz(FuzzedDataProvider(data, size));
  return 0;
}
