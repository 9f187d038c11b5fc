# Finds ExecuTorch's CMake package, unless the project has it already: in EXECUTORCH_ROOT, or in the wheel
# that Python has installed. EXECUTORCH_ANDROID names a prebuilt library for Android instead. If there is
# none, a project that adds this one gets only the core.
if(TARGET executorch::runtime)
  return()
endif()

if(EXECUTORCH_ANDROID)
  include(cmake/executorch_android.cmake)
  return()
endif()

if(NOT EXECUTORCH_ROOT)
  find_package(Python QUIET COMPONENTS Interpreter)
  if(Python_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
              "import importlib.util as u; print(u.find_spec('executorch').submodule_search_locations[0])"
      OUTPUT_VARIABLE EXECUTORCH_ROOT
      OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    )
  endif()
endif()
find_package(
  executorch QUIET CONFIG PATHS ${EXECUTORCH_ROOT} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH
)

if(NOT TARGET executorch::runtime)
  set(sentence "ExecuTorch was not found (its package needs CMake 3.28): install its wheel for this Python, "
               "or give its folder as -DEXECUTORCH_ROOT=DIR, or build the core alone with -DEDGE_CORE_ONLY=ON"
  )
  if(PROJECT_IS_TOP_LEVEL)
    message(FATAL_ERROR ${sentence})
  endif()
  message(STATUS ${sentence})
  return()
endif()

get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
list(FILTER imported INCLUDE REGEX "^executorch")
foreach(target IN LISTS imported)
  if(PROJECT_IS_TOP_LEVEL)
    # The wheel's targets put an rpath of the build machine into all that links them; ours are relative.
    get_target_property(options ${target} INTERFACE_LINK_OPTIONS)
    if(options)
      list(FILTER options EXCLUDE REGEX "-rpath")
      set_target_properties(${target} PROPERTIES INTERFACE_LINK_OPTIONS "${options}")
    endif()
  else()
    # The project that links edge::runtime must see these targets too.
    set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL ON)
  endif()
endforeach()
