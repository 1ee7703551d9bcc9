# libfewbit_cuda.so: device code of cuda/, machine code for each architecture and no PTX, with the
# CUDA runtime inside, so that it loads on hosts without a toolkit.
#
# nvcc is called by custom commands, not through CMake's CUDA language, because a machine without
# nvcc must still configure and build the addon.
set(FEWBIT_CUDA AUTO CACHE STRING "Build the CUDA back end: ON, OFF, or AUTO (where nvcc is found)")
set(FEWBIT_CUDA_ARCHS "80;86;89;90a;100;120" CACHE STRING "GPU architectures to compile for")
option(FEWBIT_CUDA_FAST_COMPILE "Hardly optimise device code: for checks on machines without a GPU" OFF)
set(FEWBIT_NVCC_THREADS 1 CACHE STRING "Architectures that one nvcc compiles at a time")

set(cuda_library ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/libfewbit_cuda.so)

find_program(FEWBIT_NVCC nvcc
  HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT FEWBIT_CUDA)
  message(STATUS "CUDA back end: not built, FEWBIT_CUDA is ${FEWBIT_CUDA}")
  file(REMOVE ${cuda_library})
elseif(NOT FEWBIT_NVCC)
  set(reason "nvcc was not found in PATH, CUDA_HOME or /usr/local/cuda")
  if(NOT FEWBIT_CUDA STREQUAL AUTO)
    message(FATAL_ERROR "FEWBIT_CUDA is ${FEWBIT_CUDA}, but ${reason}")
  endif()
  message(STATUS "CUDA back end: not built, ${reason}")
endif()
if(NOT FEWBIT_NVCC)
  return()
endif()

# Older toolkits lack the newest architectures: leave those out and say so.
execute_process(COMMAND ${FEWBIT_NVCC} --list-gpu-code
  OUTPUT_VARIABLE known_codes COMMAND_ERROR_IS_FATAL ANY)
# Compiling to intermediate code is most of the work, so architectures share it where they can: 86 and
# 89 differ from 80, and 120 from 100, only in what the assembler makes of it.
set(gencode "")
set(built_archs "")
foreach(arch ${FEWBIT_CUDA_ARCHS})
  string(REGEX MATCH "^[0-9]+" number ${arch})
  set(virtual ${arch})
  if(arch MATCHES "^8[69]$" AND 80 IN_LIST FEWBIT_CUDA_ARCHS)
    set(virtual 80)
  elseif(arch STREQUAL 120 AND 100 IN_LIST FEWBIT_CUDA_ARCHS)
    set(virtual 100)
  endif()
  if(known_codes MATCHES "sm_${number}\n")
    list(APPEND gencode -gencode arch=compute_${virtual},code=sm_${arch})
    list(APPEND built_archs ${arch})
  else()
    message(STATUS "CUDA back end: ${FEWBIT_NVCC} cannot compile for sm_${arch}, left out")
  endif()
endforeach()
if(NOT gencode)
  message(FATAL_ERROR "${FEWBIT_NVCC} knows none of FEWBIT_CUDA_ARCHS=${FEWBIT_CUDA_ARCHS}")
endif()
if(FEWBIT_CUDA)
  string(REPLACE ";" " " built_archs "${built_archs}")
  message(STATUS "CUDA back end: ${FEWBIT_NVCC} for sm ${built_archs}")
endif()

execute_process(COMMAND ${FEWBIT_NVCC} --help OUTPUT_VARIABLE nvcc_help COMMAND_ERROR_IS_FATAL ANY)
if(nvcc_help MATCHES "--compress-mode")
  set(compress --compress-mode=size)
else()
  set(compress -Xfatbin -compress-all)
endif()

set(fast_compile "")
if(FEWBIT_CUDA_FAST_COMPILE AND nvcc_help MATCHES "--Ofast-compile")
  set(fast_compile --Ofast-compile=max)
endif()

set(host_flags -std=c++20 -O3 -Xcompiler=-fPIC,-fvisibility=hidden,-Wall)
set(device_flags --expt-relaxed-constexpr ${gencode} ${compress} ${fast_compile}
  --threads ${FEWBIT_NVCC_THREADS})

fewbit_sources(cuda_sources cuda .cu .cpp)
# The op declarations (src/ops, headers) that launchers include check their arguments with this.
list(APPEND cuda_sources ${CMAKE_SOURCE_DIR}/src/core/op_spec.cpp)
set(cuda_objects "")
foreach(source ${cuda_sources})
  file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${source})
  set(object ${CMAKE_BINARY_DIR}/${name}.o)
  get_filename_component(folder ${object} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  set(flags ${host_flags})
  if(source MATCHES "\\.cu$")
    list(APPEND flags ${device_flags})
  endif()
  add_custom_command(OUTPUT ${object}
    COMMAND ${FEWBIT_NVCC} ${flags} -MMD -MT ${object} -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d
    COMMENT "Compiling ${name}" VERBATIM)
  list(APPEND cuda_objects ${object})
endforeach()

# Templates of the C++ library are visible whatever the flags say: only the map keeps them in.
set(exports ${CMAKE_SOURCE_DIR}/cuda/exports.map)
add_custom_command(OUTPUT ${cuda_library}
  COMMAND ${FEWBIT_NVCC} -shared -cudart static ${gencode} ${cuda_objects} -o ${cuda_library}
    -Xcompiler=-static-libstdc++,-static-libgcc
    -Xlinker=--version-script,${exports},--no-undefined -ldl -lrt -lpthread
  DEPENDS ${cuda_objects} ${exports}
  COMMENT "Linking libfewbit_cuda.so" VERBATIM)

# Switched off, the target stays, only nothing asks for it: Ninja deletes objects that it no longer
# knows, and switching on again would compile everything anew.
if(FEWBIT_CUDA)
  set(in_default_build ALL)
else()
  set(in_default_build "")
endif()
add_custom_target(fewbit_cuda ${in_default_build} DEPENDS ${cuda_library})
