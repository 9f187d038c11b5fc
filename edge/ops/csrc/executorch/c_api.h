// The check of a program for callers in C and Python, with the operators of ExecuTorch's registry.
#pragma once

#include "core/c_api.h"

// Checks a program, `data` the whole file, before ExecuTorch loads those bytes (program_check.h). Returns
// EDGE_PROGRAM_USABLE, or one of the others with what is wrong in `error`: the reason, or the names of the
// operators that nobody registered. The planned buffers may take `max_planned_bytes` together.
enum { EDGE_PROGRAM_USABLE = 0, EDGE_PROGRAM_UNUSABLE = 1, EDGE_PROGRAM_LACKS_OPERATORS = 2 };
EDGE_API int edge_check_program(const uint8_t* data, size_t size, int64_t max_planned_bytes, char* error,
                                size_t error_size);
