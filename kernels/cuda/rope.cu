#include <algorithm>

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

constexpr int kEight = 8;  // elements that are read and written at once

__device__ __forceinline__ void LoadEight(const float* from, float (&x)[kEight]) {
  const float4 low = *reinterpret_cast<const float4*>(from);
  const float4 high = *reinterpret_cast<const float4*>(from + 4);
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}
__device__ __forceinline__ void StoreEight(const float (&x)[kEight], float* to) {
  reinterpret_cast<float4*>(to)[0] = {x[0], x[1], x[2], x[3]};
  reinterpret_cast<float4*>(to)[1] = {x[4], x[5], x[6], x[7]};
}
template <typename T>
__device__ __forceinline__ void StoreEight(const float (&x)[kEight], T* to) {
  *reinterpret_cast<uint4*>(to) = {Pack<T>(x[0], x[1]), Pack<T>(x[2], x[3]), Pack<T>(x[4], x[5]),
                                   Pack<T>(x[6], x[7])};
}

__device__ __forceinline__ void RotateInPlace(float* a, float* b, float cosine, float sine) {
  const float2 rotated = Rotate(*a, *b, cosine, sine);
  *a = rotated.x;
  *b = rotated.y;
}

// Eight pairs: (a[i], b[i]), or neighbours in a and then in b.
__device__ __forceinline__ void RotateEight(const float* cosines, const float* sines,
                                            bool interleaved, float (&a)[kEight],
                                            float (&b)[kEight]) {
  float cosine[kEight], sine[kEight];
  LoadEight(cosines, cosine);
  LoadEight(sines, sine);
  if (interleaved) {
#pragma unroll
    for (int i = 0; i < kEight / 2; ++i) {
      RotateInPlace(&a[2 * i], &a[2 * i + 1], cosine[i], sine[i]);
      RotateInPlace(&b[2 * i], &b[2 * i + 1], cosine[i + 4], sine[i + 4]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kEight; ++i) RotateInPlace(&a[i], &b[i], cosine[i], sine[i]);
  }
}

// One block a token; a thread takes eight pairs.
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
  for (int i = threadIdx.x; i < (heads + 2 * kv_heads) * half / kEight; i += blockDim.x) {
    const int head = i / (half / kEight), pair = i % (half / kEight) * kEight;
    const bool is_value = head >= heads + kv_heads, adjacent = p.interleaved || is_value;
    const int first = adjacent ? 2 * pair : pair, second = first + (adjacent ? kEight : half);
    float a[kEight], b[kEight];
    LoadEight(in + head * d + first, a);
    LoadEight(in + head * d + second, b);
    if (!is_value) {
      RotateEight(p.cosines + t * half + pair, p.sines + t * half + pair, p.interleaved, a, b);
    }
    if (head < heads) {
      T* const q = static_cast<T*>(p.q) + (t * heads + head) * d;
      StoreEight(a, q + first);
      StoreEight(b, q + second);
    } else {
      const int kv_head = head - heads - (is_value ? kv_heads : 0);
      T* const tile = reinterpret_cast<T*>(page_base + kv_head * p.kv.head_stride) +
                      (is_value ? kPageTokens * d : 0);
      StoreEight(a, tile + PageOffset(slot, first, d, sizeof(T)));
      StoreEight(b, tile + PageOffset(slot, second, d, sizeof(T)));
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
