#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/pending_tokens.h"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void FillPendingTokensKernel(PendingTokensParams p) {
  LetNextBegin();
  WaitForPrevious();
  const int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (t < p.num_tokens && p.tokens[t] < 0) p.tokens[t] = p.drawn[-1 - p.tokens[t]];
}

}  // namespace

cudaError_t FillPendingTokens(const PendingTokensParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((params.num_tokens + kThreads - 1) / kThreads);
  return LaunchDependent(FillPendingTokensKernel, {blocks, kThreads}, stream, params);
}

}  // namespace sieve::cuda
