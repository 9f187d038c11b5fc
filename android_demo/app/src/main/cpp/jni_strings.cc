#include "jni_strings.h"

#include <cstdint>
#include <vector>

namespace lowbit_app {
namespace {

constexpr uint32_t kReplacement = 0xFFFD;

bool is_high(uint32_t unit) {
  return unit >= 0xD800 && unit < 0xDC00;
}

bool is_low(uint32_t unit) {
  return unit >= 0xDC00 && unit < 0xE000;
}

void append_utf8(uint32_t point, std::string* text) {
  const auto tail = [&](int shift) { text->push_back(static_cast<char>(0x80 | (point >> shift & 0x3F))); };
  if (point < 0x80) {
    text->push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    text->push_back(static_cast<char>(0xC0 | point >> 6));
    tail(0);
  } else if (point < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | point >> 12));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

// Reads the code point at *i and moves *i behind it.
uint32_t next_point(const std::string& text, size_t* i) {
  static constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(text[at]); };
  const uint32_t first = byte((*i)++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC0 || first >= 0xF8) return kReplacement;
  uint32_t point = first & (0x3Fu >> more);
  for (int k = 0; k < more; ++k) {
    if (*i == text.size() || (byte(*i) & 0xC0) != 0x80) return kReplacement;
    point = point << 6 | (byte((*i)++) & 0x3F);
  }
  const bool valid = point >= kLeast[more] && point < 0x110000 && !is_high(point) && !is_low(point);
  return valid ? point : kReplacement;
}

}  // namespace

std::string from_java(JNIEnv* env, jstring text) {
  std::string result;
  if (text == nullptr) return result;
  std::vector<jchar> units(static_cast<size_t>(env->GetStringLength(text)));
  env->GetStringRegion(text, 0, static_cast<jsize>(units.size()), units.data());
  for (size_t i = 0; i < units.size(); ++i) {
    uint32_t point = units[i];
    if (is_high(point) && i + 1 < units.size() && is_low(units[i + 1])) {
      point = 0x10000 + ((point - 0xD800) << 10) + (units[++i] - 0xDC00u);
    } else if (is_high(point) || is_low(point)) {
      point = kReplacement;
    }
    append_utf8(point, &result);
  }
  return result;
}

jstring to_java(JNIEnv* env, const std::string& text) {
  std::vector<jchar> units;
  for (size_t i = 0; i < text.size();) {
    const uint32_t point = next_point(text, &i);
    if (point < 0x10000) {
      units.push_back(static_cast<jchar>(point));
    } else {
      units.push_back(static_cast<jchar>(0xD800 + ((point - 0x10000) >> 10)));
      units.push_back(static_cast<jchar>(0xDC00 + ((point - 0x10000) & 0x3FF)));
    }
  }
  return env->NewString(units.data(), static_cast<jsize>(units.size()));
}

}  // namespace lowbit_app
