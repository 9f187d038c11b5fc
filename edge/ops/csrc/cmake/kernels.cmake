# The kernels of this processor: each is one file, compiled for its own instruction set.
function(edge_kernel family name)
  set(source kernels/${family}/kernel_${name}.cc)
  target_sources(edge_objects PRIVATE ${source})
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${ARGN}")
endfunction()

# GCC would unroll the portable loops until registers run out: six times slower to compile and to run.
edge_kernel(generic scalar $<$<CXX_COMPILER_ID:GNU>:--param=max-completely-peeled-insns=100>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  edge_kernel(x86 avx2 -mavx2 -mf16c)
  if(EDGE_EMULATE)
    target_compile_definitions(edge_objects PRIVATE EDGE_EMULATE)
    foreach(kernel avxvnni avx512vnni avx512vbmi)
      edge_kernel(x86 ${kernel} -mavx2 -mf16c -Wno-psabi)
    endforeach()
  else()
    # GCC 12 warns of a variable that its own header leaves undefined on purpose (its bug 105593).
    set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
               $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>
               $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
    )
    edge_kernel(x86 avxvnni -mavx2 -mf16c -mavxvnni)
    edge_kernel(x86 avx512vnni ${avx512})
    edge_kernel(x86 avx512vbmi ${avx512} -mavx512vbmi)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # Without renaming, GCC copies sums back and forth between registers in the decode loops.
  set(rename $<$<CXX_COMPILER_ID:GNU>:-frename-registers>)
  edge_kernel(arm neon)
  edge_kernel(arm dotprod -march=armv8.2-a+dotprod -mtune=cortex-a76 ${rename})
  edge_kernel(arm i8mm -march=armv8.2-a+dotprod+i8mm -mtune=cortex-a76 ${rename})
endif()
