// What Android's C library has and musl lacks, for tests that run Android's libraries under musl's loader,
// which loads this first. It stands for liblog too. Checked functions do what the unchecked ones do.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

char __sF[3 * 152];  // Android's FILEs behind stdin, stdout and stderr; nothing here prints to them

int* __errno(void) {
  return &errno;
}

int __libc_start_main(int (*main)(int, char**, char**), int count, char** arguments);  // musl's

// Starts an executable from the stack that the kernel made: the count of arguments, then the arguments.
void __libc_init(long* stack, void (*unused)(void), int (*main)(int, char**, char**), const void* structors) {
  (void)unused, (void)structors;
  __libc_start_main(main, (int)*stack, (char**)(stack + 1));
}

// The numbers of Android's sysconf, which are not musl's.
long sysconf(int name) {
  cpu_set_t cpus;
  switch (name) {
    case 39:
    case 40:
      return (long)getauxval(AT_PAGESZ);
    case 96:
    case 97:
      return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    default:
      errno = EINVAL;
      return -1;
  }
}

void __assert2(const char* file, int line, const char* function, const char* condition) {
  fprintf(stderr, "%s:%d: %s: %s\n", file, line, function, condition);
  abort();
}

void android_set_abort_message(const char* message) {
  fprintf(stderr, "%s\n", message);
}

int __android_log_write(int priority, const char* tag, const char* text) {
  return fprintf(stderr, "%d %s: %s\n", priority, tag, text);
}

int __android_log_vprint(int priority, const char* tag, const char* format, va_list arguments) {
  fprintf(stderr, "%d %s: ", priority, tag);
  return vfprintf(stderr, format, arguments);
}

int __android_log_print(int priority, const char* tag, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int printed = __android_log_vprint(priority, tag, format, arguments);
  va_end(arguments);
  return printed;
}

int __system_property_get(const char* name, char* value) {
  (void)name;
  *value = '\0';
  return 0;
}

int __cxa_thread_atexit_impl(void (*function)(void*), void* argument, void* library) {
  (void)function, (void)argument, (void)library;  // threads live as long as the process
  return 0;
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void* library) {
  (void)library;
  return pthread_atfork(prepare, parent, child);
}

char* __gnu_strerror_r(int number, char* text, size_t size) {
  strerror_r(number, text, size);
  return text;
}

void* __memcpy_chk(void* to, const void* from, size_t count, size_t room) {
  (void)room;
  return memcpy(to, from, count);
}

void* __memmove_chk(void* to, const void* from, size_t count, size_t room) {
  (void)room;
  return memmove(to, from, count);
}

void* __memset_chk(void* to, int byte, size_t count, size_t room) {
  (void)room;
  return memset(to, byte, count);
}

char* __strchr_chk(const char* text, int c, size_t room) {
  (void)room;
  return strchr(text, c);
}

char* __strrchr_chk(const char* text, int c, size_t room) {
  (void)room;
  return strrchr(text, c);
}

size_t __strlen_chk(const char* text, size_t room) {
  (void)room;
  return strlen(text);
}

int __vsnprintf_chk(char* to, size_t size, int flags, size_t room, const char* format, va_list arguments) {
  (void)flags, (void)room;
  return vsnprintf(to, size, format, arguments);
}

int __vsprintf_chk(char* to, int flags, size_t room, const char* format, va_list arguments) {
  (void)flags, (void)room;
  return vsprintf(to, format, arguments);
}

int __open_2(const char* path, int flags) {
  return open(path, flags);
}

ssize_t __read_chk(int file, void* to, size_t count, size_t room) {
  (void)room;
  return read(file, to, count);
}

ssize_t __pread_chk(int file, void* to, size_t count, off_t offset, size_t room) {
  (void)room;
  return pread(file, to, count, offset);
}

ssize_t __write_chk(int file, const void* from, size_t count, size_t room) {
  (void)room;
  return write(file, from, count);
}

long long strtoll_l(const char* text, char** end, int base, locale_t locale) {
  (void)locale;
  return strtoll(text, end, base);
}

unsigned long long strtoull_l(const char* text, char** end, int base, locale_t locale) {
  (void)locale;
  return strtoull(text, end, base);
}
