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

// The part of a thread in kBulkTokens tokens of a head: eight pairs of each of two tokens. What it
// needs for them comes from device memory while all else goes on.
class HeadParts {
 public:
  static constexpr int kHalf = kBandOutputs / 2, kItems = kHalf / kEight;
  static constexpr int kRows = kWarpgroupThreads / kItems, kParts = kBulkTokens / kRows;

  __device__ __forceinline__ HeadParts(const HopperArgs& args, int64_t token, bool caches)
      : rope_(args.rope),
        first_(threadIdx.x % kItems * kEight),
        row_(threadIdx.x % kWarpgroupThreads / kItems),
        token_(token + row_),
        end_(args.p.num_tokens) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int64_t t = min(token_ + i * kRows, end_ - 1);
      LoadEight(rope_.cosines + t * kHalf + first_, cosine_[i]);
      LoadEight(rope_.sines + t * kHalf + first_, sine_[i]);
      if (caches) place_[i] = PlaceInCache(rope_, t);
    }
  }

  // Takes a head from its two boxes.
  template <typename T>
  __device__ __forceinline__ void Store(const char* boxes, int head) const {
    const bool rotates = head < rope_.num_heads + rope_.num_kv_heads;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      float a[kEight], b[kEight];
      LoadEightOfBox(boxes, row_ + i * kRows, first_, a);
      LoadEightOfBox(boxes + kBulkTokens * kBoxRowBytes, row_ + i * kRows, first_, b);
      if (rotates) RotateEight(cosine_[i], sine_[i], false, a, b);
      const int64_t t = token_ + i * kRows;
      if (t < end_) StoreOfHead<T>(rope_, t, place_[i], head, first_, a, kHalf + first_, b);
    }
  }

 private:
  const RopeAndStoreParams& rope_;
  const int first_, row_;
  const int64_t token_, end_;
  float cosine_[kParts][kEight], sine_[kParts][kEight];
  CachePlace place_[kParts];
};

// A warpgroup's sums of one chain, which are whole ones: what RopeAndStore makes of them.
template <typename Tile, typename T>
__device__ __forceinline__ void StoreHeads(const HopperArgs& args, const TilePlace& place,
                                           const typename Tile::Sums& sums, int warpgroup,
                                           const char* stored) {
  const MatMulParams& p = args.p;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32;
  const int first_head = static_cast<int>(place.output / kBandOutputs);
  const BoxPlaces mine = PlacesInBoxes(stored);
#pragma unroll
  for (int part = 0; part < Tile::kTokens / kBulkTokens; ++part) {
    const int64_t token = place.token + part * kBulkTokens;
    if (token >= p.num_tokens) break;
    const HeadParts parts(args, token, first_head + Tile::kBands > args.rope.num_heads);
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) {
      const int64_t output = place.output + band * kBandOutputs;
      if (output >= p.outputs) break;
      float bias[2] = {0, 0};
      if (p.bias != nullptr) {
        const float* const from = p.bias + output + thread / 32 * 16 + lane / 4;
        bias[0] = from[0], bias[1] = from[8];
      }
      WarpgroupSync(warpgroup);  // all have read what was there before
#pragma unroll
      for (int i = 0; i < kBulkTokens / 2; ++i) {
        // As MatMul's, where -0 becomes 0.
        float sum = 0.0f + sums[band][part * kBulkTokens / 2 + i];
        if (p.bias != nullptr) sum += bias[i / 2 % 2];
        mine.Store(i, sum);
      }
      WarpgroupSync(warpgroup);
      parts.template Store<T>(stored, first_head + band);
    }
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_HEAD_STORE_CUH_
