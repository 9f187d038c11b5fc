// Error messages: a function that fails returns false and writes a sentence into an Error. Nothing throws,
// because callers may be C or a runtime built without exceptions.
#pragma once

#include <cstdarg>
#include <cstdio>

namespace edge {

struct Error {
  char message[256] = "";

  // Records the message and returns false, for `return error.fail(...)`.
  bool fail(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    va_list args;
    va_start(args, format);
    std::vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return false;
  }
};

}  // namespace edge
