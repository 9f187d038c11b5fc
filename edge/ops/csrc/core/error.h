// Errors travel as sentences: a function returns false and says why in `Error`. Nothing throws,
// because these functions are called across C and from a runtime built without exceptions.
#pragma once

#include <cstdarg>
#include <cstdio>

namespace edge {

struct Error {
  char message[256] = "";

  // Records the sentence and returns false, so that a caller can `return error.fail(...)`.
  bool fail(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    va_list args;
    va_start(args, format);
    std::vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return false;
  }
};

}  // namespace edge
