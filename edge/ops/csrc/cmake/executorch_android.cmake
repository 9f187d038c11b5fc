# ExecuTorch for Android as a prebuilt package: EXECUTORCH_ANDROID names a folder with the headers in include
# and libexecutorch.so of each ABI in lib/ABI, or in android/libs/executorch/ABI as the npm package
# react-native-executorch has it (below its third-party). The library has the thread pool, the kernels and
# XNNPACK inside, and no tracer.
find_file(
  EXECUTORCH_ANDROID_LIBRARY libexecutorch.so
  PATHS ${EXECUTORCH_ANDROID}/lib/${ANDROID_ABI} ${EXECUTORCH_ANDROID}/android/libs/executorch/${ANDROID_ABI}
  NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH REQUIRED
)
add_library(executorch_android SHARED IMPORTED GLOBAL)
set_target_properties(
  executorch_android PROPERTIES IMPORTED_LOCATION ${EXECUTORCH_ANDROID_LIBRARY}
                                INTERFACE_INCLUDE_DIRECTORIES ${EXECUTORCH_ANDROID}/include
)
foreach(part runtime threadpool kernels_optimized backend_xnnpack)
  add_library(executorch::${part} ALIAS executorch_android)
endforeach()
