#ifndef SIEVE_KERNELS_CUDA_ROPE_STORE_CUH_
#define SIEVE_KERNELS_CUDA_ROPE_STORE_CUH_

// How projections become queries, and keys and values in the cache: eight elements at a time.

#include <cstdint>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/rope_params.h"
#include "kernels/cuda/row_math.cuh"

namespace sieve::cuda {

inline constexpr int kEight = 8;

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
__device__ __forceinline__ void RotateEight(const float (&cosine)[kEight],
                                            const float (&sine)[kEight], bool interleaved,
                                            float (&a)[kEight], float (&b)[kEight]) {
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

// Where a token's keys and values are.
struct CachePlace {
  char* page = nullptr;
  int slot = 0;
};
__device__ __forceinline__ CachePlace PlaceInCache(const RopeAndStoreParams& p, int64_t token) {
  if (p.num_kv_heads == 0) return {};
  const int position = p.positions[token];
  const int64_t page =
      p.block_tables[p.sequences[token] * p.block_table_stride + position / kPageTokens];
  return {p.kv.base + page * p.kv.page_stride, position % kPageTokens};
}

// Stores a at elements `first` .. of a head (queries', then keys', then values'), b at `second` ..;
// both are multiples of eight.
template <typename T>
__device__ __forceinline__ void StoreOfHead(const RopeAndStoreParams& p, int64_t token,
                                            const CachePlace& place, int head, int first,
                                            const float (&a)[kEight], int second,
                                            const float (&b)[kEight]) {
  const int d = static_cast<int>(p.kv.head_dim), kv_heads = static_cast<int>(p.num_kv_heads);
  const int kv_head = head - static_cast<int>(p.num_heads);
  if (kv_head < 0) {
    T* const q = static_cast<T*>(p.q) + (token * p.num_heads + head) * d;
    StoreEight(a, q + first);
    StoreEight(b, q + second);
    return;
  }
  T* const tile = reinterpret_cast<T*>(place.page + kv_head % kv_heads * p.kv.head_stride) +
                  kv_head / kv_heads * kPageTokens * d;
  StoreEight(a, tile + PageOffset(place.slot, first, d, sizeof(T)));
  StoreEight(b, tile + PageOffset(place.slot, second, d, sizeof(T)));
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ROPE_STORE_CUH_
