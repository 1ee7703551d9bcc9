# The CPU-only addon, for machines that have g++ and python3 but neither CMake nor the CUDA toolkit:
#   npx node-gyp rebuild
# CMakeLists.txt builds the same addon and libfewbit_cuda.so next to it.
{
  'targets': [
    {
      'target_name': 'fewbit',
      'sources': ['<!@(node scripts/sources.js src .cpp)'],
      'dependencies': [
        '<!(node -p "require(\'node-addon-api\').targets"):node_addon_api_except',
      ],
      # Swallow: what a terminated worker can no longer be told must not end the process.
      'defines': [
        'NAPI_VERSION=9',
        'NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS',
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-rtti'],
      'cflags_cc': [
        '-std=c++20',
        '-fexceptions',
        '-ffp-contract=off',
        '-fvisibility=hidden',
        '-fvisibility-inlines-hidden',
        '-Wall',
        '-Wextra',
        '-Wno-psabi',
      ],
      'ldflags': [
        '-static-libstdc++',
        '-static-libgcc',
        '-Wl,--version-script=<(module_root_dir)/src/binding/exports.map',
        '-pthread',
      ],
      'libraries': ['-ldl'],
    },
  ],
}
