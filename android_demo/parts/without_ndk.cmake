# Toolchain for Android without the NDK: Clang, libc++'s headers and lld of the distribution, musl's headers,
# and stand-ins of Android's C libraries that hold the names it has at API 26 (native.py makes them). Given:
#     ANDROID_ABI   arm64-v8a or x86_64
#     LLVM_ROOT     the folder of Clang's bin and include
#     LIBC_INCLUDE  musl's headers for that CPU
#     LIBC_STUBS    the folder of the stand-ins and of start.o, with which an executable starts
set(CMAKE_SYSTEM_NAME Linux)
if(ANDROID_ABI STREQUAL arm64-v8a)
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
else()
  set(CMAKE_SYSTEM_PROCESSOR x86_64)
endif()
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ANDROID_ABI LLVM_ROOT LIBC_INCLUDE LIBC_STUBS)

set(CMAKE_CXX_COMPILER ${LLVM_ROOT}/bin/clang++)
set(CMAKE_CXX_COMPILER_TARGET ${CMAKE_SYSTEM_PROCESSOR}-linux-musl)
set(flags
    # ExecuTorch's library exports no unwinder.
    -fno-exceptions -fno-rtti -fno-asynchronous-unwind-tables
    # Clang would call functions of GCC's library, and one that Android may lack.
    -fno-builtin-bcmp
    -nostdlibinc -isystem ${CMAKE_CURRENT_LIST_DIR}/libc -isystem ${LLVM_ROOT}/include/c++/v1
    -isystem ${LIBC_INCLUDE}
)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL aarch64)
  list(APPEND flags -mno-outline-atomics)
endif()
list(JOIN flags " " CMAKE_CXX_FLAGS_INIT)
# Pages of 16 KB, as newer phones have them. Never unloaded, because threads run its code until the end.
set(CMAKE_SHARED_LINKER_FLAGS_INIT
    "-fuse-ld=lld -nostdlib -Wl,-z,max-page-size=16384 -Wl,-z,nodelete -Wl,-s -L${LIBC_STUBS}"
)
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "-fuse-ld=lld -nostdlib -pie -Wl,--dynamic-linker=/system/bin/linker64 -Wl,-z,max-page-size=16384 -Wl,-s \
-L${LIBC_STUBS} ${LIBC_STUBS}/start.o"
)
set(CMAKE_CXX_STANDARD_LIBRARIES_INIT "-lc -lm -ldl")
