#include <algorithm>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/rope_store.cuh"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void AnglesKernel(RopeAnglesParams p) {
  LetNextBegin();
  WaitForPrevious();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.num_tokens * p.half) return;
  const float angle = static_cast<float>(p.positions[i / p.half]) * p.frequencies[i % p.half];
  p.cosines[i] = cosf(angle);
  p.sines[i] = sinf(angle);
}

// One block a token; a thread takes eight pairs.
template <typename T>
__global__ void RopeAndStoreKernel(RopeAndStoreParams p) {
  LetNextBegin();
  const int64_t t = blockIdx.x;
  const int d = static_cast<int>(p.kv.head_dim), half = d / 2;
  const int heads = static_cast<int>(p.num_heads), kv_heads = static_cast<int>(p.num_kv_heads);
  const float* in = p.qkv + t * (heads + 2 * kv_heads) * d;
  const CachePlace place = PlaceInCache(p, t);
  WaitForPrevious();
  for (int i = threadIdx.x; i < (heads + 2 * kv_heads) * half / kEight; i += blockDim.x) {
    const int head = i / (half / kEight), pair = i % (half / kEight) * kEight;
    const bool is_value = head >= heads + kv_heads, adjacent = p.interleaved || is_value;
    const int first = adjacent ? 2 * pair : pair, second = first + (adjacent ? kEight : half);
    float a[kEight], b[kEight];
    LoadEight(in + head * d + first, a);
    LoadEight(in + head * d + second, b);
    if (!is_value) {
      float cosine[kEight], sine[kEight];
      LoadEight(p.cosines + t * half + pair, cosine);
      LoadEight(p.sines + t * half + pair, sine);
      RotateEight(cosine, sine, p.interleaved, a, b);
    }
    StoreOfHead<T>(p, t, place, head, first, a, second, b);
  }
}

}  // namespace

cudaError_t RopeAngles(const RopeAnglesParams& params, cudaStream_t stream) {
  const int64_t n = params.num_tokens * params.half;
  if (n == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((n + kThreads - 1) / kThreads);
  return LaunchDependent(AnglesKernel, {blocks, kThreads}, stream, params);
}

cudaError_t RopeAndStore(const RopeAndStoreParams& params, cudaStream_t stream) {
  if (params.kv.head_dim % (2 * kEight) != 0) return cudaErrorInvalidValue;
  if (params.num_tokens == 0) return cudaSuccess;
  const int64_t pairs =
      (params.num_heads + 2 * params.num_kv_heads) * params.kv.head_dim / 2 / kEight;
  const auto threads = static_cast<unsigned>(std::min<int64_t>(kThreads, (pairs + 31) / 32 * 32));
  return WithElement(params.kv.dtype, [&](auto element) {
    const auto blocks = static_cast<unsigned>(params.num_tokens);
    return LaunchDependent(RopeAndStoreKernel<decltype(element)>, {blocks, threads}, stream,
                           params);
  });
}

}  // namespace sieve::cuda
