// Preloaded into a process, ends it or fills its disk at the n-th call that changes files below a directory.
//
//   EDGE_FAULT_UNDER=DIR EDGE_FAULT=kill:N     SIGKILL instead of the N-th call (from 1)
//   EDGE_FAULT_UNDER=DIR EDGE_FAULT=enospc:N   the N-th call and all after it that need room fail
//   EDGE_FAULT_LOG=FILE                        a byte is appended for every call, so that they can be counted
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// Counts a call on a path; true if it must fail for want of room. Calls that free room never fail.
static int is_full(const char* path, int needs_room) {
  const char* under = getenv("EDGE_FAULT_UNDER");
  const char* fault = getenv("EDGE_FAULT");
  if (under == NULL || strncmp(path, under, strlen(under)) != 0) return 0;
  pthread_mutex_lock(&lock);
  const long call = ++calls;
  pthread_mutex_unlock(&lock);
  const char* log = getenv("EDGE_FAULT_LOG");
  if (log != NULL) {
    const int file = NEXT(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (NEXT(write)(file, ".", 1) != 1) abort();
    close(file);
  }
  if (fault == NULL) return 0;
  const long at = atol(strchr(fault, ':') + 1);
  if (fault[0] == 'k' && call == at) kill(getpid(), SIGKILL);
  return fault[0] == 'e' && call >= at && needs_room;
}

static int path_is_full(int directory, const char* path, int needs_room) {
  char whole[2 * PATH_MAX] = "", link[64];
  if (path[0] != '/') {
    snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
    const ssize_t length = readlink(link, whole, PATH_MAX);
    if (length < 0) return 0;
    whole[length] = '/';
    whole[length + 1] = 0;
  }
  strncat(whole, path, PATH_MAX - 1);
  return is_full(whole, needs_room);
}

static int file_is_full(int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_full(path, 1);
}

#define FAIL_IF_FULL(full) \
  if (full) {              \
    errno = ENOSPC;        \
    return -1;             \
  }

#define OPEN(name)                                                              \
  int name(const char* path, int flags, ...) {                                  \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;             \
    va_end(rest);                                                               \
    if (flags & O_CREAT) FAIL_IF_FULL(path_is_full(AT_FDCWD, path, 1))          \
    return NEXT(name)(path, flags, mode);                                       \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                            \
  int name(int directory, const char* path, int flags, ...) {                   \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;             \
    va_end(rest);                                                               \
    if (flags & O_CREAT) FAIL_IF_FULL(path_is_full(directory, path, 1))         \
    return NEXT(name)(directory, path, flags, mode);                            \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void* bytes, size_t count) {
  FAIL_IF_FULL(file_is_full(file))
  return NEXT(write)(file, bytes, count);
}

ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t offset) {
  FAIL_IF_FULL(file_is_full(file))
  return NEXT(pwrite64)(file, bytes, count, offset);
}

int mkdir(const char* path, mode_t mode) {
  FAIL_IF_FULL(path_is_full(AT_FDCWD, path, 1))
  return NEXT(mkdir)(path, mode);
}

int rename(const char* from, const char* to) {
  FAIL_IF_FULL(path_is_full(AT_FDCWD, to, 1))
  return NEXT(rename)(from, to);
}

int renameat2(int from_directory, const char* from, int directory, const char* to, unsigned flags) {
  FAIL_IF_FULL(path_is_full(directory, to, 1))
  return NEXT(renameat2)(from_directory, from, directory, to, flags);
}

int unlink(const char* path) {
  path_is_full(AT_FDCWD, path, 0);
  return NEXT(unlink)(path);
}

int unlinkat(int directory, const char* path, int flags) {
  path_is_full(directory, path, 0);
  return NEXT(unlinkat)(directory, path, flags);
}

int rmdir(const char* path) {
  path_is_full(AT_FDCWD, path, 0);
  return NEXT(rmdir)(path);
}
