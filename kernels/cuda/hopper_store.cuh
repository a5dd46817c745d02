#ifndef SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_

// How a warpgroup's sums reach device memory: 64 outputs of a few tokens at a time through shared
// memory, so that threads store neighbouring outputs, 16 bytes each.

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/swiglu.cuh"

namespace sieve::cuda {

// A barrier of one warpgroup.
__device__ __forceinline__ void WarpgroupSync(int warpgroup) {
  asm volatile("bar.sync %0, %1;" ::"r"(warpgroup + 1), "n"(kWarpgroupThreads) : "memory");
}

// Which chain the sums are of.
struct ChainPlace {
  bool is_first = false, is_last = false;
};

__device__ __forceinline__ bool AddsToY(const MatMulParams& p, const ChainPlace& chain) {
  return p.accumulate || !chain.is_first;
}

// Four of `count` floats, from `at` on; no more than there are.
__device__ __forceinline__ float4 LoadFour(const float* from, int64_t at, int64_t count) {
  float4 four = {0, 0, 0, 0};
  if (at >= count) return four;
  if (count % 4 == 0) return __ldcg(reinterpret_cast<const float4*>(from + at));
  four.x = from[at];
  if (at + 1 < count) four.y = from[at + 1];
  if (at + 2 < count) four.z = from[at + 2];
  if (at + 3 < count) four.w = from[at + 3];
  return four;
}

__device__ __forceinline__ void StoreFour(const float4& four, float* to, int64_t at,
                                          int64_t count) {
  if (at >= count) return;
  if (count % 4 == 0) {
    __stcg(reinterpret_cast<float4*>(to + at), four);
    return;
  }
  to[at] = four.x;
  if (at + 1 < count) to[at + 1] = four.y;
  if (at + 2 < count) to[at + 2] = four.z;
  if (at + 3 < count) to[at + 3] = four.w;
}

__device__ __forceinline__ float4 Add(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// What will be added to is on its way to the L2 cache while products run.
template <typename Tile>
__device__ __forceinline__ void PrefetchY(const MatMulParams& p, const TilePlace& place) {
  constexpr int kLine = 32;  // floats
  constexpr int kLines = Tile::kOutputs / kLine * Tile::kTokens;
  for (int i = threadIdx.x % kWarpgroupThreads; i < kLines; i += kWarpgroupThreads) {
    const int64_t token = place.token + i / (Tile::kOutputs / kLine);
    const int64_t output = place.output + i % (Tile::kOutputs / kLine) * kLine;
    if (token >= p.num_tokens || output >= p.outputs) continue;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p.y + token * p.outputs + output));
  }
}

// All threads of the warpgroup: its sums (Wgmma says which thread has which) of one chain are added
// to y, or make it if there is nothing in it yet.
template <typename Tile>
__device__ __forceinline__ void StoreSums(const MatMulParams& p, const TilePlace& place,
                                          const ChainPlace& chain, const typename Tile::Sums& sums,
                                          int warpgroup, float* stored) {
  constexpr int kTokens = Tile::kStoredTokens, kStride = Tile::kStoredStride;
  constexpr int kFours = kTokens * kBandOutputs / 4 / kWarpgroupThreads;  // a thread's
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  float* const mine = stored + lane % 4 * 2 * kStride + thread / 32 * 16 + lane / 4;
  const int column = thread % 16 * 4, row = thread / 16;  // of the first of the fours
  const bool adds = AddsToY(p, chain), biased = chain.is_last && p.bias != nullptr;
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    const int64_t output = place.output + band * kBandOutputs + column;
#pragma unroll
    for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
      const int64_t token = place.token + part * kTokens;
      if (token >= p.num_tokens) break;
      float4 totals[kFours] = {};
      if (adds) {
#pragma unroll
        for (int i = 0; i < kFours; ++i) {
          const int64_t t = token + row + i * 8;
          if (t < p.num_tokens) totals[i] = LoadFour(p.y + t * p.outputs, output, p.outputs);
        }
      }
      WarpgroupSync(warpgroup);  // all have read what was there before
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        mine[(i / 4 * 8 + i % 2) * kStride + i / 2 % 2 * 8] = sums[band][part * kTokens / 2 + i];
      }
      WarpgroupSync(warpgroup);
#pragma unroll
      for (int i = 0; i < kFours; ++i) {
        const float* const from = stored + (row + i * 8) * kStride + column;
        totals[i] = Add(totals[i], *reinterpret_cast<const float4*>(from));
        if (biased) totals[i] = Add(totals[i], LoadFour(p.bias, output, p.outputs));
        const int64_t t = token + row + i * 8;
        if (t < p.num_tokens) StoreFour(totals[i], p.y + t * p.outputs, output, p.outputs);
      }
    }
  }
}

// The same for a gated product of one chain: silu(gate) * up goes to inner.
template <typename Tile, typename T>
__device__ __forceinline__ void StoreGated(const HopperArgs& args, const TilePlace& place,
                                           const typename Tile::Sums& sums, int warpgroup,
                                           float* stored) {
  constexpr int kTokens = Tile::kStoredTokens, kStride = kBandOutputs / 2 + 4;
  const MatMulParams& p = args.p;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  float* const mine = stored + lane % 4 * 2 * kStride + thread / 32 * 8 + lane / 4;
  const int row = thread / 4, column = thread % 4 * 8;  // of eight results
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    const int64_t first = place.output + band * kBandOutputs;
    const int64_t gate = first + thread / 32 * 16 + lane / 4;
    const bool biased = p.bias != nullptr && gate + 8 < p.outputs;
    const float gate_bias = biased ? p.bias[gate] : 0, up_bias = biased ? p.bias[gate + 8] : 0;
#pragma unroll
    for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
      const int64_t token = place.token + part * kTokens;
      if (token >= p.num_tokens) break;
      WarpgroupSync(warpgroup);  // all have read what was there before
#pragma unroll
      for (int i = 0; i < kTokens / 4; ++i) {
        const int at = part * kTokens / 2 + i / 2 * 4 + i % 2;
        // As MatMul's, where -0 becomes 0.
        float g = 0.0f + sums[band][at], u = 0.0f + sums[band][at + 2];
        if (p.bias != nullptr) g += gate_bias, u += up_bias;
        mine[(i / 2 * 8 + i % 2) * kStride] = SwiGluOf(g, u);
      }
      WarpgroupSync(warpgroup);
      const int64_t at = first / 2 + column;
      if (row >= kTokens || token + row >= p.num_tokens || at >= p.outputs / 2) continue;
      const float4* const from = reinterpret_cast<const float4*>(stored + row * kStride + column);
      const float4 low = from[0], high = from[1];
      T* const to = static_cast<T*>(args.inner) + (token + row) * (p.outputs / 2) + at;
      const uint4 eight = {Pack<T>(low.x, low.y), Pack<T>(low.z, low.w), Pack<T>(high.x, high.y),
                           Pack<T>(high.z, high.w)};
      __stcg(reinterpret_cast<uint4*>(to), eight);
    }
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_
