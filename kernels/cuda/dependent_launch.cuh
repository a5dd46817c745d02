#ifndef SIEVE_KERNELS_CUDA_DEPENDENT_LAUNCH_CUH_
#define SIEVE_KERNELS_CUDA_DEPENDENT_LAUNCH_CUH_

// Programmatic dependent launch: on Hopper a kernel's blocks may start while the kernel before it
// still runs, and do there what does not depend on it. Order then rests on the kernels: each one
// that is launched so calls WaitForPrevious() in every thread that touches what another kernel of
// the chain reads or writes, before it does. The kernel before was complete then, and as it had
// waited in the same way, so were all before it. A plain launch at either end waits as ever.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {

// Until the kernel before this one is complete and all it wrote can be read.
__device__ __forceinline__ void WaitForPrevious() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel's blocks may start as soon as all of this one's have said so (or ended), and
// there is room. They have their own wait, so this is right anywhere; never before a block of this
// kernel has its place, hence early is best.
__device__ __forceinline__ void LetNextBegin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Blocks, or tokens, up to which a kernel is launched so. Long kernels have little to gain, and
// those of prompts lose some (8,192 tokens: 3 % on an H200), since blocks that wait hold their
// places.
inline constexpr int64_t kMostDependent = 1024;

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  unsigned cluster_blocks = 1;  // along x
  bool is_long = false;         // although its blocks are few
};

// Launches a kernel that keeps to the rules above. Devices that are not Hopper, newer ones too, run
// code in which the calls above are empty: there all launches are plain.
template <typename... Params, typename... Args>
cudaError_t LaunchDependent(void (*kernel)(Params...), const LaunchShape& shape,
                            cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  const int64_t blocks = int64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (ThisChip().is_hopper() && !shape.is_long && blocks <= kMostDependent) {
    cudaLaunchAttribute& dependent = attributes[config.numAttrs++];
    dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    dependent.val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster_blocks > 1) {
    cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {shape.cluster_blocks, 1, 1};
  }
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DEPENDENT_LAUNCH_CUH_
