#ifndef SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_

// How a warpgroup's sums of 64 outputs reach device memory: a few tokens at a time through shared
// memory, so that threads store neighbouring outputs, 16 bytes each.

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/swiglu.cuh"

namespace sieve::cuda {

// A barrier of one warpgroup.
__device__ __forceinline__ void WarpgroupSync(int warpgroup) {
  asm volatile("bar.sync %0, %1;" ::"r"(warpgroup + 1), "n"(kWarpgroupThreads) : "memory");
}

// Where a warpgroup's sums belong.
struct SumsPlace {
  int64_t output = 0, token = 0;  // the first ones
  bool first_chain = false, last_chain = false;
};

// Four neighbouring outputs of a token, the sums of one chain: added to y if there is something in
// it.
__device__ __forceinline__ void StoreFour(const MatMulParams& p, const SumsPlace& place,
                                          int64_t token, int64_t output, const float4& sums) {
  if (token >= p.num_tokens || output >= p.outputs) return;
  float* const y = p.y + token * p.outputs + output;
  const bool adds = p.accumulate || !place.first_chain;
  const float* const bias = place.last_chain && p.bias != nullptr ? p.bias + output : nullptr;
  if (p.outputs % 4 == 0) {
    float4 sum = adds ? *reinterpret_cast<const float4*>(y) : float4{0, 0, 0, 0};
    sum.x += sums.x, sum.y += sums.y, sum.z += sums.z, sum.w += sums.w;
    if (bias != nullptr) sum.x += bias[0], sum.y += bias[1], sum.z += bias[2], sum.w += bias[3];
    *reinterpret_cast<float4*>(y) = sum;
    return;
  }
  const float values[] = {sums.x, sums.y, sums.z, sums.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (output + i >= p.outputs) return;
    const float sum = (adds ? y[i] : 0.0f) + values[i];
    y[i] = bias != nullptr ? sum + bias[i] : sum;
  }
}

// All threads of the warpgroup: its sums (Wgmma says which thread has which) of one chain go to y.
template <typename Tile>
__device__ __forceinline__ void StoreSums(const MatMulParams& p, const SumsPlace& place,
                                          const float (&sums)[Tile::kTokens / 2], int warpgroup,
                                          float* staged) {
  constexpr int kTokens = Tile::kStagedTokens, kStride = Tile::kStagedStride;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  float* const mine = staged + lane % 4 * 2 * kStride + thread / 32 * 16 + lane / 4;
#pragma unroll
  for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
    const int64_t token = place.token + part * kTokens;
    if (token >= p.num_tokens) return;
    WarpgroupSync(warpgroup);  // all have read what was staged before
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      mine[(i / 4 * 8 + i % 2) * kStride + i / 2 % 2 * 8] = sums[part * kTokens / 2 + i];
    }
    WarpgroupSync(warpgroup);
#pragma unroll
    for (int i = 0; i < kTokens * 16 / kWarpgroupThreads; ++i) {
      const int row = i * 8 + thread / 16, column = thread % 16 * 4;
      const float4 four = *reinterpret_cast<const float4*>(staged + row * kStride + column);
      StoreFour(p, place, token + row, place.output + column, four);
    }
  }
}

// The same for a gated product of one chain: silu(gate) * up goes to inner.
template <typename Tile, typename T>
__device__ __forceinline__ void StoreGated(const HopperArgs& args, const SumsPlace& place,
                                           const float (&sums)[Tile::kTokens / 2], int warpgroup,
                                           float* staged) {
  constexpr int kTokens = Tile::kStagedTokens, kStride = kWarpgroupOutputs / 2 + 4;
  const MatMulParams& p = args.p;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  const int64_t gate = place.output + thread / 32 * 16 + lane / 4;
  const bool biased = p.bias != nullptr && gate + 8 < p.outputs;
  const float gate_bias = biased ? p.bias[gate] : 0, up_bias = biased ? p.bias[gate + 8] : 0;
  float* const mine = staged + lane % 4 * 2 * kStride + thread / 32 * 8 + lane / 4;
#pragma unroll
  for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
    const int64_t token = place.token + part * kTokens;
    if (token >= p.num_tokens) return;
    WarpgroupSync(warpgroup);  // all have read what was staged before
#pragma unroll
    for (int i = 0; i < kTokens / 4; ++i) {
      const int at = part * kTokens / 2 + i / 2 * 4 + i % 2;
      const float g = 0.0f + sums[at], u = 0.0f + sums[at + 2];  // as MatMul's: -0 becomes 0
      mine[(i / 2 * 8 + i % 2) * kStride] =
          p.bias != nullptr ? SwiGluOf(g + gate_bias, u + up_bias) : SwiGluOf(g, u);
    }
    WarpgroupSync(warpgroup);
    const int row = thread / 4, column = thread % 4 * 8;
    const int64_t at = place.output / 2 + column;
    if (row >= kTokens || token + row >= p.num_tokens || at >= p.outputs / 2) continue;
    const float4* const from = reinterpret_cast<const float4*>(staged + row * kStride + column);
    const float4 low = from[0], high = from[1];
    T* const to = static_cast<T*>(args.inner) + (token + row) * (p.outputs / 2) + at;
    *reinterpret_cast<uint4*>(to) = {Pack<T>(low.x, low.y), Pack<T>(low.z, low.w),
                                     Pack<T>(high.x, high.y), Pack<T>(high.z, high.w)};
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_STORE_CUH_
