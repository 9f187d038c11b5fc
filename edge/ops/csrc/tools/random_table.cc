#include "tools/random_table.h"

#include <algorithm>

namespace edge {
namespace {

void make_finite(uint8_t* halves, int64_t size) {
  for (int64_t i = 1; i < size; i += 2) {
    if ((halves[i] & 0x7c) == 0x7c) halves[i] = static_cast<uint8_t>(halves[i] & ~0x04);
  }
}

}  // namespace

TableForm random_form(const EncodingTraits& encoding, Random* random) {
  TableForm form{&encoding, 0, ScaleType::kFloat32, false, 0.0f};
  if (!encoding.is_quantized()) return form;
  form.has_zeros = random->chance(30);
  if (!form.has_zeros) {
    const int64_t halves = encoding.id == Encoding::kBits8 ? 1 : 2;  // a step of 2 overflows at 8 bits
    form.zero =
        static_cast<float>(random->between(0, halves * encoding.largest_code())) / static_cast<float>(halves);
  }
  if (encoding.has_planes() && random->chance(50)) {
    form.group_columns = int64_t{32} << random->between(0, 3);
    form.scale_type = random->chance(50) ? ScaleType::kFloat16 : ScaleType::kBfloat16;
  }
  return form;
}

RandomTable::RandomTable(const TableForm& form, int64_t n, int64_t k, Fill fill, Random* random)
    : skew_(random->between(0, 63)) {
  PackedHeader header = expected_header(n, k, form);
  bytes_.resize(static_cast<size_t>(skew_) + header.total_bytes);
  view_ = view_of(header, form, data());
  uint8_t* const codes = data() + header.codes_offset;
  for (int64_t i = 0; i < view_.codes_bytes(); ++i) codes[i] = code_byte(fill, random);
  if (!form.encoding->is_quantized()) make_finite(codes, view_.codes_bytes());
  if (form.group_columns == 0) {
    fill_rows(random);
  } else {
    fill_groups(codes, random);
  }
  if (view_.is_base3()) view_.digest = header.digest = codes_digest(codes, view_.codes_bytes());
  std::memcpy(data(), &header, sizeof(header));
}

uint8_t RandomTable::code_byte(Fill fill, Random* random) const {
  if (view_.is_base3()) {
    const int64_t number = fill == Fill::kLargest ? 242 : random->between(0, 242);
    return static_cast<uint8_t>((number * 256 + 242) / 243);
  }
  return static_cast<uint8_t>(fill == Fill::kLargest ? 0xff : random->bits());
}

float RandomTable::scale(Random* random) const {
  const float root = random->value();
  return view_.form.encoding->is_quantized() ? 0.001f + root * root : 1.0f;
}

float RandomTable::zero(Random* random) const {
  return random->value() * static_cast<float>(view_.form.encoding->codes);
}

void RandomTable::fill_rows(Random* random) {
  uint8_t* const arrays = data() + sizeof(PackedHeader);
  for (int64_t row = 0; row < view_.n; ++row) {
    const float values[2] = {scale(random), zero(random)};
    std::memcpy(arrays + row * 4, &values[0], sizeof(float));
    if (view_.form.has_zeros) std::memcpy(arrays + (view_.n_padded + row) * 4, &values[1], sizeof(float));
  }
}

// 16 bits of scales and zeros: bfloat16 is the upper half of a float, a half below 1 is made of random bits.
uint16_t RandomTable::bits(float value, Random* random) const {
  uint32_t word;
  std::memcpy(&word, &value, sizeof(word));
  if (view_.form.scale_type == ScaleType::kBfloat16) return static_cast<uint16_t>(word >> 16);
  return static_cast<uint16_t>(random->between(1, 0x3bff));  // positive, subnormal halves included
}

void RandomTable::fill_groups(uint8_t* codes, Random* random) const {
  for (int64_t block = 0; block < view_.blocks(); ++block) {
    uint8_t* const at = codes + block * view_.block_bytes();
    const int64_t rows = std::min(kBlockRows, view_.n - block * kBlockRows);
    for (int64_t group = 0; group < group_count(view_.k_padded, view_.form.group_columns); ++group) {
      const GroupPlace place = place_of_group(view_.form, view_.k_padded, group);
      for (int64_t row = 0; row < kBlockRows; ++row) {
        const uint16_t values[2] = {bits(scale(random), random), bits(zero(random), random)};
        const uint16_t stored = row < rows ? values[0] : uint16_t{0};
        std::memcpy(at + place.scales + row * 2, &stored, 2);
        if (view_.form.has_zeros) std::memcpy(at + place.zeros + row * 2, &values[1], 2);
      }
    }
  }
}

}  // namespace edge
