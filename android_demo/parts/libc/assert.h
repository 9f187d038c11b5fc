// musl's assert calls a function that Android lacks.
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
extern "C" void __assert2(const char*, int, const char*, const char*) __attribute__((noreturn));
#define assert(condition) ((condition) ? (void)0 : __assert2(__FILE__, __LINE__, __func__, #condition))
#endif
