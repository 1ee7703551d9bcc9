#!/bin/sh
# What prebuildify runs instead of node-gyp (it ignores node-gyp's arguments): copies the CMake build
# to build/Release of the current folder, where prebuildify looks.
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p build/Release
cp "$root"/build/Release/fewbit.node build/Release/
if [ -e "$root/build/Release/libfewbit_cuda.so" ]; then
  cp "$root/build/Release/libfewbit_cuda.so" build/Release/
fi
