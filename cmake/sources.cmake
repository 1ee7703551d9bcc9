# fewbit_sources(<result> <folder> <extension>...): what scripts/sources.js lists, as absolute paths.
# The glob is only the trigger that makes the build configure again when a file comes or goes.
find_program(NODE_EXECUTABLE node REQUIRED)

function(fewbit_sources result folder)
  foreach(extension ${ARGN})
    file(GLOB_RECURSE trigger CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*${extension})
  endforeach()
  execute_process(
    COMMAND ${NODE_EXECUTABLE} scripts/sources.js ${folder} ${ARGN}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    OUTPUT_VARIABLE listing OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" listing "${listing}")
  list(TRANSFORM listing PREPEND ${CMAKE_SOURCE_DIR}/)
  set(${result} ${listing} PARENT_SCOPE)
endfunction()
