# Fuzz targets: fuzz/NAME.cc becomes the program NAME, and the target `fuzz_targets` builds them all. With
# EDGE_FUZZ everything is built for libFuzzer, so it needs Clang and its runtime (libclang-rt).
if(NOT EDGE_FUZZ)
  return()
endif()
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "EDGE_FUZZ needs Clang, for example -DCMAKE_CXX_COMPILER=clang++-19")
endif()
set(EDGE_SANITIZE address,undefined,float-cast-overflow,fuzzer-no-link)
set(EDGE_TOOLS OFF)
add_custom_target(fuzz_targets)

# edge_fuzz_target(NAME LIBRARY SOURCE...): the target links LIBRARY; sources beside fuzz/NAME.cc are optional.
function(edge_fuzz_target name library)
  add_executable(${name} EXCLUDE_FROM_ALL fuzz/${name}.cc ${ARGN})
  edge_target(${name})
  target_link_libraries(${name} PRIVATE ${library})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzz_targets ${name})
endfunction()
