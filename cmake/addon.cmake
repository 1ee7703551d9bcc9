# fewbit.node: host C++ only, nothing of CUDA.
fewbit_sources(addon_sources src .cpp)

add_library(fewbit MODULE ${addon_sources})
set_target_properties(fewbit PROPERTIES
  PREFIX "" SUFFIX ".node"
  CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
  POSITION_INDEPENDENT_CODE ON)
target_include_directories(fewbit SYSTEM PRIVATE ${CMAKE_JS_INC})
# Swallow: what a terminated worker can no longer be told must not end the process.
target_compile_definitions(fewbit PRIVATE
  NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS
  NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
# The scalar CPU path is the reference of every op, so its rounding must not depend on the compiler
# fusing multiplications and additions.
target_compile_options(fewbit PRIVATE -fexceptions -ffp-contract=off -pthread
  -Wall -Wextra -Wno-psabi)
# Templates of the C++ library are visible whatever the flags say: only the map keeps the copies in
# here apart from those of the process.
set(exports ${CMAKE_SOURCE_DIR}/src/binding/exports.map)
target_link_options(fewbit PRIVATE
  -static-libstdc++ -static-libgcc -Wl,--version-script=${exports} -pthread)
set_target_properties(fewbit PROPERTIES LINK_DEPENDS ${exports})
target_link_libraries(fewbit PRIVATE ${CMAKE_JS_LIB} ${CMAKE_DL_LIBS})
