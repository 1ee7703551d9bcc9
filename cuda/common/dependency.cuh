// Programmatic dependent launch, seen from inside a kernel (no effect before sm_90).
#pragma once

namespace fewbit::cuda {

// Returns when every kernel before this one on the stream has finished and its writes can be seen.
__device__ __forceinline__ void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel on the stream begin, if it was launched with Launch::overlap, as soon as
// every block has called this or ended. Call it first where the blocks are few and short: the next
// kernel's blocks, which wait for this kernel's end anyway, then stand ready and have their constant
// operands on the way. A kernel that reads anything else ahead of its wait, because the kernel before
// calls this after its own wait, must say so.
__device__ __forceinline__ void start_successor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace fewbit::cuda
