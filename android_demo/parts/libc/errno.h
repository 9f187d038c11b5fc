// musl's errno calls a function that Android has by another name.
#pragma once
#include_next <errno.h>
#ifdef __cplusplus
extern "C" int* __errno();
#else
int* __errno(void);
#endif
#undef errno
#define errno (*__errno())
