// Packed tables: arbitrary bytes, and valid tables some bytes of which were altered. A table that opens gives
// the same bits with every kernel that this CPU runs, in linear and in what a kernel's unpacking gives it,
// and nothing is read or written outside its bytes.
#include <cstdint>

#include "core/elastic.h"
#include "core/linear.h"
#include "core/unpacked_ternary.h"
#include "fuzz/fuzz.h"
#include "tools/random_table.h"

namespace edge {
namespace {

// Runs a product; false where it is refused. All kernels must refuse the same, but for the digest of ternary
// codes, which only kernels that unpack them check.
bool multiply(const PackedView& table, const std::vector<float>& x, int64_t tokens,
              const LinearFusion& fusion, const Kernel& kernel, int64_t parts, std::vector<float>* y) {
  Error error;
  RunnableTable runnable;
  int64_t bytes = 0;
  if (!runnable_copy(table, kernel, &runnable, &error) ||
      !linear_scratch(tokens, runnable.view, fusion, &bytes, &error)) {
    return false;
  }
  std::vector<char> scratch(static_cast<size_t>(bytes));
  y->assign(static_cast<size_t>(tokens * (fusion.gate_up ? table.n / 2 : table.n)), 7.0f);
  linear(x.data(), tokens, runnable.view, fusion, kernel, in_parts(&parts), scratch.data(), y->data());
  return true;
}

void compare_kernels(FuzzedDataProvider* data, const PackedView& table, Random* random) {
  const int64_t tokens = data->ConsumeIntegralInRange<int64_t>(0, table.k > 4096 ? 2 : 9);
  const std::vector<float> x = fuzzed_values(data, tokens * table.k, random);
  const std::vector<float> norm = fuzzed_values(data, table.k, random);
  const std::vector<float> residual = fuzzed_values(data, tokens * table.n, random);
  LinearFusion fusion;
  fusion.norm_weight = data->ConsumeBool() ? norm.data() : nullptr;
  fusion.eps = 1e-5f;
  fusion.gate_up = data->ConsumeIntegralInRange(0, 3) == 0;
  fusion.residual = !fusion.gate_up && data->ConsumeBool() ? residual.data() : nullptr;
  const int64_t parts = data->ConsumeIntegralInRange<int64_t>(1, 5);
  std::vector<float> want, got;
  const bool runs = multiply(table, x, tokens, fusion, kScalar, 1, &want);
  for (const Kernel* kernel : fuzzed_kernels()) {
    if (!multiply(table, x, tokens, fusion, *kernel, parts, &got)) {
      const bool may_refuse = !runs || (table.is_base3() && !kernel->runs_base3);
      if (!may_refuse) differs(kernel->name, "whether linear runs");
    } else if (!runs) {
      differs(kernel->name, "whether linear runs");
    } else {
      must_equal(kernel->name, "linear", want, got);
    }
  }
}

void look_up(FuzzedDataProvider* data, const PackedView& table) {
  std::vector<int64_t> ids(data->ConsumeIntegralInRange<size_t>(0, 3));
  for (int64_t& id : ids) {
    id = data->ConsumeBool() ? data->ConsumeIntegral<int64_t>()
                             : data->ConsumeIntegralInRange<int64_t>(0, table.n - 1);
  }
  std::vector<float> rows(ids.size() * static_cast<size_t>(table.k));
  Error error;
  embedding(ids.data(), static_cast<int64_t>(ids.size()), table, rows.data(), &error);
}

RandomTable valid_table(FuzzedDataProvider* data, Random* random) {
  const EncodingTraits& encoding = data->PickValueInArray(kEncodings);
  const TableForm form = random_form(encoding, random);
  const bool wide = data->ConsumeIntegralInRange(0, 400) == 0;
  const int64_t n = data->ConsumeIntegralInRange<int64_t>(1, wide ? 17 : 64);
  const int64_t k = data->ConsumeIntegralInRange<int64_t>(1, wide ? kMaxColumns : 200);
  return RandomTable(form, n, k, data->ConsumeBool() ? Fill::kRandom : Fill::kLargest, random);
}

void alter(FuzzedDataProvider* data, uint8_t* bytes, int64_t size) {
  for (int count = data->ConsumeIntegralInRange(0, 4); count > 0; --count) {
    const int64_t end = data->ConsumeBool() ? std::min<int64_t>(size, 192) : size;
    bytes[data->ConsumeIntegralInRange<int64_t>(0, end - 1)] = data->ConsumeIntegral<uint8_t>();
  }
}

void use(FuzzedDataProvider* data, const std::vector<uint8_t>& bytes, int64_t n, int64_t k, Random* random) {
  const auto size = static_cast<int64_t>(bytes.size());
  Error error;
  PackedView table;
  if (open_table(bytes.data(), size, k, &table, &error)) look_up(data, table);
  if (open_packed(bytes.data(), size, n, k, &table, &error)) compare_kernels(data, table, random);
}

// Makes every slice of an elastic weight whose three tables need not fit each other.
void make_slices(FuzzedDataProvider* data, Random* random) {
  const int64_t n = data->ConsumeIntegralInRange<int64_t>(1, 40);
  const int64_t k = data->ConsumeIntegralInRange<int64_t>(1, 200);
  std::vector<RandomTable> tables;
  for (const Encoding encoding : {Encoding::kBits2, Encoding::kBits4, Encoding::kBits3}) {
    TableForm form{&traits_of(encoding), 0, ScaleType::kFloat32, false, 0.0f};
    if (data->ConsumeIntegralInRange(0, 9) == 0) {
      form =
          random_form(kEncodings[data->ConsumeIntegralInRange<size_t>(0, std::size(kEncodings) - 1)], random);
    } else if (encoding == Encoding::kBits2) {
      form = random_form(traits_of(encoding), random);
      form.has_zeros = true;
      form.zero = 0.0f;
    }
    tables.emplace_back(form, n, k, Fill::kRandom, random);
    alter(data, tables.back().data(), tables.back().size());
  }
  const auto bytes = [&](size_t i) { return PackedBytes{tables[i].data(), tables[i].size()}; };
  for (int bits = 0; bits <= 9; ++bits) {
    Error error;
    RunnableTable slice;
    if (!runnable_slice({bytes(0), bytes(1), bytes(2), n, k}, bits, &slice, &error)) continue;
    std::vector<float> y(static_cast<size_t>(n));
    const std::vector<float> x = random->values(k);
    if (!multiply(slice.view, x, 1, {}, kScalar, 1, &y)) differs("elastic", "whether linear runs");
  }
  forget_slices();
}

void fuzz(FuzzedDataProvider data) {
  Random random(data.ConsumeIntegral<uint64_t>());
  if (data.ConsumeIntegralInRange(0, 9) == 0) return make_slices(&data, &random);
  if (data.ConsumeIntegralInRange(0, 9) == 0) {
    const auto n = data.ConsumeIntegral<int64_t>(), k = data.ConsumeIntegral<int64_t>();
    const std::vector<uint8_t> bytes = data.ConsumeRemainingBytes<uint8_t>();
    FuzzedDataProvider nothing(nullptr, 0);
    return use(&nothing, bytes, n, k, &random);
  }
  RandomTable table = valid_table(&data, &random);
  alter(&data, table.data(), table.size());
  std::vector<uint8_t> bytes(table.data(), table.data() + table.size());
  if (data.ConsumeIntegralInRange(0, 19) == 0) {
    bytes.resize(data.ConsumeIntegralInRange<size_t>(0, bytes.size() + 64));
  }
  use(&data, bytes, table.view().n, table.view().k, &random);
}

}  // namespace
}  // namespace edge

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  edge::fuzz(FuzzedDataProvider(data, size));
  return 0;
}
