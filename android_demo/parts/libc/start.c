// What the kernel starts in an executable that was linked without the NDK, which has this in its
// crtbegin_dynamic.o: it hands the stack (arguments, environment) and main to bionic, which calls exit.
struct Structors {
  void (**preinit)(void);
  void (**init)(void);
  void (**fini)(void);
};

int main(int argc, char** argv, char** environment);
__attribute__((noreturn)) void __libc_init(void* stack, void (*unused)(void),
                                           int (*main)(int, char**, char**), const struct Structors*);

// The loader runs constructors, and Clang registers destructors by __cxa_atexit, so none is named here.
__attribute__((noreturn, used, visibility("hidden"))) void start_by_bionic(void* stack) {
  static const struct Structors none;
  __libc_init(stack, 0, main, &none);
}

#if defined(__aarch64__)
__asm__(
    ".globl _start\n.type _start, %function\n_start:\n"
    "  mov x29, #0\n  mov x30, #0\n  mov x0, sp\n  b start_by_bionic\n");
#else
__asm__(
    ".globl _start\n.type _start, @function\n_start:\n"
    "  xorl %ebp, %ebp\n  movq %rsp, %rdi\n  andq $-16, %rsp\n  call start_by_bionic\n");
#endif
