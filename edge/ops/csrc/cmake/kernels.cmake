# The kernels of this build, best first: dispatch chooses the first that the CPU supports. Each is one file,
# kernels/FAMILY/kernel_NAME.cc, which defines the constant and is compiled for its own instruction set.
function(edge_kernel constant family name)
  set(source kernels/${family}/kernel_${name}.cc)
  target_sources(edge_objects PRIVATE ${source})
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${ARGN}")
  set(EDGE_KERNELS "${EDGE_KERNELS}EDGE_KERNEL(${constant})" PARENT_SCOPE)
endfunction()

set(EDGE_KERNELS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(avx2 -mavx2 -mf16c)
  if(EDGE_EMULATE)
    target_compile_definitions(edge_objects PRIVATE EDGE_EMULATE)
    set(avxvnni ${avx2} -Wno-psabi)
    set(avx512 ${avxvnni})
    set(vbmi "")
  else()
    set(avxvnni ${avx2} -mavxvnni)
    # GCC 12 warns of a variable that its own header leaves undefined on purpose (its bug 105593).
    set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
               $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>
               $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
    )
    set(vbmi -mavx512vbmi)
  endif()
  edge_kernel(kAvx512Vbmi x86 avx512vbmi ${avx512} ${vbmi})
  edge_kernel(kAvx512Vnni x86 avx512vnni ${avx512})
  edge_kernel(kAvxVnni x86 avxvnni ${avxvnni})
  edge_kernel(kAvx2 x86 avx2 ${avx2})
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # Without renaming, GCC copies sums back and forth between registers in the decode loops.
  set(rename $<$<CXX_COMPILER_ID:GNU>:-frename-registers>)
  edge_kernel(kI8mm arm i8mm -march=armv8.2-a+dotprod+i8mm -mtune=cortex-a76 ${rename})
  edge_kernel(kDotprod arm dotprod -march=armv8.2-a+dotprod -mtune=cortex-a76 ${rename})
  edge_kernel(kNeon arm neon)
endif()
# GCC would unroll the portable loops until registers run out: six times slower to compile and to run.
edge_kernel(kScalar generic scalar $<$<CXX_COMPILER_ID:GNU>:--param=max-completely-peeled-insns=100>)
set_source_files_properties(core/dispatch.cc PROPERTIES COMPILE_DEFINITIONS "EDGE_KERNELS=${EDGE_KERNELS}")
