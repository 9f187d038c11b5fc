// Of the kernel's headers, the only one that the ops need; musl has its content.
#include <sys/auxv.h>
