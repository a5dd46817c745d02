#ifndef SIEVE_KERNELS_CUDA_ATTENTION_WGMMA_CUH_
#define SIEVE_KERNELS_CUDA_ATTENTION_WGMMA_CUH_

// Products of a warpgroup (four warps, 16 rows each) with a page of keys or
// values, as it lies in the cache, by wgmma (sm_90a). The left operand and the
// sums have the layout of mma.cuh's Mma, and the sums its bits.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/wgmma.cuh"

namespace sieve::cuda {

// 64 elements of 64 tokens.
inline constexpr int kPageColumnBytes = kPageTokens * 64 * 2;

// Keeps the compiler from moving what is computed from these values to before
// this line, and what they are computed from to after it: waits are no use of
// them that it could see.
template <int kTiles>
__device__ __forceinline__ void Pin(float (&sums)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sums[n][i])::"memory");
  }
}

#define SIEVE_WGMMA_M64N64K16(type)                                                               \
  asm volatile(                                                                                   \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                                \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                 \
      " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%"                     \
      "19,%20,%21,%22,%23,"                                                                       \
      "%24,%25,%26,%27,%28,%29,%30,%31},{%32,%33,%34,%35},%36,p,1,1,%38;\n}\n"                    \
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), \
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), \
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]), \
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), \
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), \
        "+f"(c[7][2]), "+f"(c[7][3])                                                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),    \
        "n"(static_cast<int>(kTransposed)))

// c[64, 64] = a[64, 16] b[16, 64], plus c if `accumulate`. Under way until a
// WgmmaWait. In shared memory a row is one of b's columns, or with kTransposed
// one of its rows.
template <typename T, bool kTransposed>
__device__ __forceinline__ void WgmmaPage(float (*c)[4], const uint32_t (&a)[4], uint64_t b,
                                          bool accumulate) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    SIEVE_WGMMA_M64N64K16("bf16");
  } else {
    static_assert(std::is_same_v<T, __half>);
    SIEVE_WGMMA_M64N64K16("f16");
  }
}

#undef SIEVE_WGMMA_M64N64K16

// Scores() of attention_split.cuh: begins them and commits. `keys` describes
// the page's first column.
template <typename T, int kHeadDim>
__device__ __forceinline__ void BeginScores(const WarpRows<T, kHeadDim>& rows, uint64_t keys,
                                            float (&scores)[8][4]) {
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    const uint64_t b = keys + (k / 4 * kPageColumnBytes + k % 4 * 32) / 16;
    WgmmaPage<T, false>(scores, rows.q[k], b, k > 0);
  }
  WgmmaCommit();
}

// AddValues() likewise, of the values after the keys; without `accumulate` to
// zeros.
template <typename T, int kHeadDim>
__device__ __forceinline__ void BeginValues(const uint32_t (&weights)[4][4], uint64_t keys,
                                            bool accumulate, WarpSums<kHeadDim>* sums) {
  const uint64_t values = keys + kHeadDim / 64 * kPageColumnBytes / 16;
#pragma unroll
  for (int k = 0; k < kPageTokens / 16; ++k) {
#pragma unroll
    for (int column = 0; column < kHeadDim / 64; ++column) {
      const uint64_t b = values + (column * kPageColumnBytes + k * 16 * 128) / 16;
      WgmmaPage<T, true>(sums->out + 8 * column, weights[k], b, k > 0 || accumulate);
    }
  }
  WgmmaCommit();
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_WGMMA_CUH_
