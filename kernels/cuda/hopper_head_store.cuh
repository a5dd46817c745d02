#ifndef SIEVE_KERNELS_CUDA_HOPPER_HEAD_STORE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_HEAD_STORE_CUH_

// How the sums of large tiles become queries, keys and values: a band of outputs is a head of 64
// dimensions. It goes through shared memory, so that a thread has both halves of pairs to rotate
// and stores 16 bytes at a time.

#include <cstdint>

#include "kernels/cuda/hopper_bulk_store.cuh"
#include "kernels/cuda/hopper_store.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/rope_store.cuh"

namespace sieve::cuda {

// Eight floats of a box, from `column` on.
__device__ __forceinline__ void LoadEightOfBox(const char* box, int token, int column,
                                               float (&x)[kEight]) {
  const char* const row = box + token * kBoxRowBytes;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int chunk = (column / 4 + half) ^ (token % 8);
    const float4 four = *reinterpret_cast<const float4*>(row + chunk * 16);
    x[4 * half] = four.x, x[4 * half + 1] = four.y;
    x[4 * half + 2] = four.z, x[4 * half + 3] = four.w;
  }
}

// A warpgroup's sums of one chain, which are whole ones: what RopeAndStore makes of them.
template <typename Tile, typename T>
__device__ __forceinline__ void StoreHeads(const HopperArgs& args, const TilePlace& place,
                                           const typename Tile::Sums& sums, int warpgroup,
                                           const char* stored) {
  constexpr int kTokens = kBulkTokens, kHalf = kBandOutputs / 2, kItems = kHalf / kEight;
  const RopeAndStoreParams& r = args.rope;
  const MatMulParams& p = args.p;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  const BoxPlaces mine = PlacesInBoxes(stored);
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    const int64_t output = place.output + band * kBandOutputs;
    if (output >= p.outputs) break;
    const int head = static_cast<int>(output / kBandOutputs);
    const bool rotates = head < r.num_heads + r.num_kv_heads;
    float bias[2] = {0, 0};
    if (p.bias != nullptr) {
      const float* const from = p.bias + output + thread / 32 * 16 + lane / 4;
      bias[0] = from[0], bias[1] = from[8];
    }
#pragma unroll
    for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
      const int64_t token = place.token + part * kTokens;
      if (token >= p.num_tokens) break;
      WarpgroupSync(warpgroup);  // all have read what was there before
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        // As MatMul's, where -0 becomes 0.
        float sum = 0.0f + sums[band][part * kTokens / 2 + i];
        if (p.bias != nullptr) sum += bias[i / 2 % 2];
        mine.Store(i, sum);
      }
      WarpgroupSync(warpgroup);
#pragma unroll
      for (int i = 0; i < kTokens * kItems / kWarpgroupThreads; ++i) {
        const int item = i * kWarpgroupThreads + thread;
        const int row = item / kItems, first = item % kItems * kEight;
        const int64_t t = token + row;
        if (t >= p.num_tokens) break;
        float a[kEight], b[kEight];
        LoadEightOfBox(stored, row, first, a);
        LoadEightOfBox(stored + kTokens * kBoxRowBytes, row, first, b);
        if (rotates) {
          RotateEight(r.cosines + t * kHalf + first, r.sines + t * kHalf + first, false, a, b);
        }
        const CachePlace cache = head < r.num_heads ? CachePlace() : PlaceInCache(r, t);
        StoreOfHead<T>(r, t, cache, head, first, a, kHalf + first, b);
      }
    }
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_HEAD_STORE_CUH_
