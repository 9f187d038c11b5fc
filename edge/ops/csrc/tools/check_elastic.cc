// Slices of elastic weights against their formula, code by code and scale by scale.
#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "core/elastic.h"
#include "core/planes.h"
#include "tools/checks.h"
#include "tools/random_table.h"

namespace edge {
namespace {

struct Parent {
  RandomTable base, middle, low;
  std::vector<GroupCodes> codes;  // of 8 bits, [block][32 columns]

  ElasticBytes bytes() {
    const PackedView& view = base.view();
    return {
        {base.data(), base.size()}, {middle.data(), middle.size()}, {low.data(), low.size()}, view.n, view.k};
  }
};

int slice(int code, int bits) {
  const int shift = 8 - bits;
  const int rounded = shift == 0 ? code : (code + (1 << (shift - 1))) >> shift;
  return std::min(rounded, (1 << bits) - 1);
}

TableForm rest_form(Encoding encoding) {
  return {&traits_of(encoding), 0, ScaleType::kFloat32, false, 0.0f};
}

TableForm base_form(Random* random) {
  TableForm form = random_form(traits_of(Encoding::kBits2), random);
  form.has_zeros = true;
  form.zero = 0.0f;
  // Random halves may be too small for the slices of more bits; bfloat16 has room.
  if (form.group_columns != 0) form.scale_type = ScaleType::kBfloat16;
  return form;
}

void put_group(RandomTable* table, int64_t block, int64_t column, const GroupCodes& codes) {
  const PackedView& view = table->view();
  const int64_t offset = lines_at(view, block, column) - table->data();
  lines_of_codes(*view.form.encoding, codes, table->data() + offset);
}

Parent random_parent(int64_t n, int64_t k, Random* random) {
  Parent parent{RandomTable(base_form(random), n, k, Fill::kRandom, random),
                RandomTable(rest_form(Encoding::kBits4), n, k, Fill::kRandom, random),
                RandomTable(rest_form(Encoding::kBits3), n, k, Fill::kRandom, random),
                {}};
  const PackedView& view = parent.base.view();
  for (int64_t block = 0; block < view.blocks(); ++block) {
    for (int64_t column = 0; column < view.k_padded; column += 32) {
      GroupCodes whole, base, middle, low;
      for (int quad = 0; quad < kQuads; ++quad) {
        for (int lane = 0; lane < kLineBytes; ++lane) {
          const int code = static_cast<int>(random->between(0, 255));
          whole.quads[quad][lane] = static_cast<uint8_t>(code);
          base.quads[quad][lane] = static_cast<uint8_t>(slice(code, 2));
          middle.quads[quad][lane] = static_cast<uint8_t>(code >> 3 & 15);
          low.quads[quad][lane] = static_cast<uint8_t>(code & 7);
        }
      }
      put_group(&parent.base, block, column, base);
      put_group(&parent.middle, block, column, middle);
      put_group(&parent.low, block, column, low);
      parent.codes.push_back(whole);
    }
  }
  return parent;
}

bool check_slice(Parent* parent, int bits, Tally* tally) {
  RunnableTable runnable;
  Error error;
  if (!runnable_slice(parent->bytes(), bits, &runnable, &error)) {
    std::printf("slice of %d bits: %s\n", bits, error.message);
    return false;
  }
  const PackedView &base = parent->base.view(), &got = runnable.view;
  std::vector<uint8_t> row_codes(static_cast<size_t>(base.k_padded));
  std::vector<float> want, found;
  for (int64_t row = 0; row < base.n_padded; ++row) {
    read_row_codes(got, row, 0, base.k_padded, row_codes.data());
    for (int64_t column = 0; column < base.k_padded; ++column) {
      const auto group = static_cast<size_t>(row / 16 * (base.k_padded / 32) + column / 32);
      const uint8_t code = parent->codes[group].quads[column % 32 / 4][row % 16 * 4 + column % 4];
      want.push_back(static_cast<float>(slice(code, bits)));
      found.push_back(row_codes[static_cast<size_t>(column)]);
    }
    for (int64_t column = 0; column < base.k_padded; column += 32) {
      want.push_back(std::ldexp(scale_at(base, row, column), 2 - bits));
      found.push_back(scale_at(got, row, column));
      want.push_back(std::ldexp(zero_at(base, row, column), bits - 2));
      found.push_back(zero_at(got, row, column));
    }
  }
  char what[100];
  std::snprintf(what, sizeof(what), "slice of %d bits of [%" PRId64 ", %" PRId64 "], groups of %" PRId64,
                bits, base.n, base.k, base.form.group_columns);
  return tally->same(kScalar, what, want, found);
}

}  // namespace

bool check_elastic(Random* random, Tally* tally) {
  const int64_t n = random->between(1, 40), k = random->between(1, 300);
  Parent parent = random_parent(n, k, random);
  bool same = true;
  for (int bits = kBaseBits; same && bits <= kParentBits; ++bits) same = check_slice(&parent, bits, tally);
  forget_slices();  // the tables go, and others may come to lie there
  return same;
}

}  // namespace edge
