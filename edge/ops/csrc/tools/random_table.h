// Packed tables with random contents, for checks and fuzzing.
#pragma once

#include <vector>

#include "core/layout.h"
#include "tools/random.h"

namespace edge {

// The bytes to fill a table with. Base 3 uses only 243 values, and a half must be finite.
enum class Fill { kRandom, kLargest };

// One zero for the table, or one for each scale; one scale a row, or one for each group of columns.
TableForm random_form(const EncodingTraits& encoding, Random* random);

// A valid table in memory of exactly its size at an address of any alignment. Codes of padding are random
// too, because they must not affect any kernel's result.
class RandomTable {
 public:
  RandomTable(const TableForm& form, int64_t n, int64_t k, Fill fill, Random* random);

  uint8_t* data() { return bytes_.data() + skew_; }
  int64_t size() const { return static_cast<int64_t>(bytes_.size()) - skew_; }
  const PackedView& view() const { return view_; }

 private:
  uint8_t code_byte(Fill fill, Random* random) const;
  float scale(Random* random) const;
  float zero(Random* random) const;
  uint16_t bits(float value, Random* random) const;
  void fill_rows(Random* random);
  void fill_groups(uint8_t* codes, Random* random) const;

  int64_t skew_;
  std::vector<uint8_t> bytes_;
  PackedView view_;
};

}  // namespace edge
