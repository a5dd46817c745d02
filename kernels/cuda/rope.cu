#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/row_math.cuh"

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

// One block a token; a thread rotates pairs.
template <typename T>
__global__ void RopeAndStoreKernel(RopeAndStoreParams p) {
  LetNextBegin();
  const int64_t t = blockIdx.x;
  const int d = static_cast<int>(p.kv.head_dim), half = d / 2;
  const int heads = static_cast<int>(p.num_heads), kv_heads = static_cast<int>(p.num_kv_heads);
  const float* in = p.qkv + t * (heads + 2 * kv_heads) * d;
  const int position = p.positions[t];
  char* page_base = nullptr;
  if (kv_heads > 0) {
    const int64_t page =
        p.block_tables[p.sequences[t] * p.block_table_stride + position / kPageTokens];
    page_base = p.kv.base + page * p.kv.page_stride;
  }
  const int slot = position % kPageTokens;
  WaitForPrevious();
  for (int i = threadIdx.x; i < (heads + 2 * kv_heads) * half; i += blockDim.x) {
    const int head = i / half, pair = i % half;
    const bool adjacent = p.interleaved || head >= heads + kv_heads;
    const int first = adjacent ? 2 * pair : pair, second = adjacent ? 2 * pair + 1 : pair + half;
    float a = in[head * d + first], b = in[head * d + second];
    if (head < heads + kv_heads) {
      const float2 rotated = Rotate(a, b, p.cosines[t * half + pair], p.sines[t * half + pair]);
      a = rotated.x;
      b = rotated.y;
    }
    if (head < heads) {
      T* const q = static_cast<T*>(p.q) + (t * heads + head) * d;
      q[first] = FromFloat<T>(a);
      q[second] = FromFloat<T>(b);
    } else {
      const bool is_value = head >= heads + kv_heads;
      const int kv_head = head - heads - (is_value ? kv_heads : 0);
      T* const tile = reinterpret_cast<T*>(page_base + kv_head * p.kv.head_stride) +
                      (is_value ? kPageTokens * d : 0);
      tile[PageOffset(slot, first, d, sizeof(T))] = FromFloat<T>(a);
      tile[PageOffset(slot, second, d, sizeof(T))] = FromFloat<T>(b);
    }
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
  if (params.num_tokens == 0) return cudaSuccess;
  return WithElement(params.kv.dtype, [&](auto element) {
    const auto blocks = static_cast<unsigned>(params.num_tokens);
    return LaunchDependent(RopeAndStoreKernel<decltype(element)>, {blocks, kThreads}, stream,
                           params);
  });
}

}  // namespace sieve::cuda
