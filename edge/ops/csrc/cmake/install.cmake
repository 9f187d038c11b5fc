# Installs into edge/ops/{lib,bin} of a site-packages folder that also holds executorch/lib; with EDGE_FLAT,
# for the cross build, into one folder.
if(EDGE_FLAT)
  set(library_folder .)
  set(program_folder .)
  set(rpath "$ORIGIN")
else()
  set(library_folder edge/ops/lib)
  set(program_folder edge/ops/bin)
  set(rpath "$ORIGIN/../lib;$ORIGIN/../../../executorch/lib")
endif()
set_target_properties(
  lowbit_ops lowbit_runner PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${rpath}"
                                      INSTALL_RPATH_USE_LINK_PATH OFF
)
install(TARGETS lowbit_ops LIBRARY DESTINATION ${library_folder})
install(TARGETS lowbit_runner RUNTIME DESTINATION ${program_folder})
if(EDGE_TOOLS)
  install(TARGETS lowbit_kernel_check lowbit_kernel_bench RUNTIME DESTINATION ${program_folder})
endif()
