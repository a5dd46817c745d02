#include <algorithm>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/host_copy.h"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 256;

__global__ void CopyHostKernel(const uint4* from, uint4* to, int64_t count) {
  LetNextBegin();
  WaitForPrevious();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) {
    to[i] = from[i];
  }
}

}  // namespace

cudaError_t CopyHost(const void* from, void* to, int64_t bytes, cudaStream_t stream) {
  if (bytes % 16 != 0) return cudaErrorInvalidValue;
  const int64_t count = bytes / 16;
  if (count == 0) return cudaSuccess;
  const auto blocks =
      static_cast<unsigned>(std::min(kMostBlocks, (count + kThreads - 1) / kThreads));
  return LaunchDependent(CopyHostKernel, {blocks, kThreads}, stream,
                         static_cast<const uint4*>(from), static_cast<uint4*>(to), count);
}

}  // namespace sieve::cuda
