# Writes the hash of all sources to OUTPUT, as a C++ constant: the SHA-256 of the lines "SHA-256  path" of
# the sorted files, as sha256sum prints them. edge/ops/source_hash.py does the same in Python.
#     cmake -DOUTPUT=FILE -P source_hash.cmake
get_filename_component(csrc ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
file(
  GLOB_RECURSE paths
  RELATIVE ${csrc}
  ${csrc}/*.h ${csrc}/*.cc ${csrc}/*.inc ${csrc}/*.txt ${csrc}/*.cmake
)
list(SORT paths)
set(lines "")
foreach(path IN LISTS paths)
  file(SHA256 ${csrc}/${path} hash)
  string(APPEND lines "${hash}  ${path}\n")
endforeach()
string(SHA256 hash "${lines}")
file(WRITE ${OUTPUT} "inline constexpr char kSourceHash[] = \"${hash}\";\n")
