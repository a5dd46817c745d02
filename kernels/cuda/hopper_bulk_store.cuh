#ifndef SIEVE_KERNELS_CUDA_HOPPER_BULK_STORE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_BULK_STORE_CUH_

// How the sums of large tiles reach device memory: through shared memory, from which the copy
// engine stores boxes of HopperArgs::result, or adds them to what is there. Rows of a box are
// tokens, 128 bytes each, their 16-byte chunks permuted by the row's number modulo 8, so that no
// bank is met twice.

#include <cstdint>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/hopper_store.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/swiglu.cuh"

namespace sieve::cuda {

__device__ __forceinline__ void StoreBox(const CUtensorMap& to, uint32_t from, int64_t column,
                                         int64_t row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&to),
      "r"(static_cast<int>(column)), "r"(static_cast<int>(row)), "r"(from)
      : "memory");
}
__device__ __forceinline__ void AddBox(const CUtensorMap& to, uint32_t from, int64_t column,
                                       int64_t row) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2}], "
      "[%3];" ::"l"(&to),
      "r"(static_cast<int>(column)), "r"(static_cast<int>(row)), "r"(from)
      : "memory");
}
__device__ __forceinline__ void CommitBoxes() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until the boxes that this thread has committed are read from shared memory, or are stored.
__device__ __forceinline__ void WaitUntilRead() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ __forceinline__ void WaitUntilStored() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// What this thread wrote to shared memory is there for the copy engine.
__device__ __forceinline__ void ShowToCopyEngine() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The warpgroup's thread that asks the copy engine.
__device__ __forceinline__ bool StoresBoxes() { return threadIdx.x % kWarpgroupThreads == 0; }

// A lane's places in two boxes of 32 outputs × kBulkTokens tokens, one behind the other, which a
// warpgroup's band fills.
struct BoxPlaces {
  uint32_t first[4];  // in the first eight tokens

  // `i` counts a lane's sums (Wgmma says which) of these tokens.
  __device__ __forceinline__ void Store(int i, float sum) const {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(first[i % 4] + i / 4 * 8 * kBoxRowBytes), "f"(sum)
                 : "memory");
  }
};
__device__ __forceinline__ BoxPlaces PlacesInBoxes(const char* boxes) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x % kWarpgroupThreads / 32;
  const uint32_t box = SharedAddress(boxes) + warp / 2 * kBulkTokens * kBoxRowBytes;
  BoxPlaces places;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = lane % 4 * 2 + i % 2, column = warp % 2 * 16 + lane / 4 + i / 2 * 8;
    places.first[i] = box + token * kBoxRowBytes + ((column / 4) ^ token) * 16 + column % 4 * 4;
  }
  return places;
}

// As StoreSums, without a bias.
template <typename Tile>
__device__ __forceinline__ void StoreSumsInBulk(const HopperArgs& args, const TilePlace& place,
                                                const ChainPlace& chain,
                                                const typename Tile::Sums& sums, int warpgroup,
                                                char* stored) {
  constexpr int kTokens = kBulkTokens, kColumns = kBoxRowBytes / 4;
  constexpr int kBoxBytes = kTokens * kBoxRowBytes;
  static_assert(kBandOutputs == 2 * kColumns && 2 * kBoxBytes <= Tile::kStoredBytes);
  const bool adds = AddsToY(args.p, chain);
  const float zero = adds ? -0.0f : 0.0f;  // a sum alone is that of 0 and it, where -0 becomes 0
  const uint32_t boxes = SharedAddress(stored);
  const BoxPlaces mine = PlacesInBoxes(stored);
  // The chain before, whose boxes this thread stored, comes first.
  if (!chain.is_first && StoresBoxes()) WaitUntilStored();
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    const int64_t output = place.output + band * kBandOutputs;
#pragma unroll
    for (int part = 0; part < Tile::kTokens / kTokens; ++part) {
      const int64_t token = place.token + part * kTokens;
      if (token >= args.p.num_tokens) break;
      if (StoresBoxes()) WaitUntilRead();
      WarpgroupSync(warpgroup);
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) {
        mine.Store(i, sums[band][part * kTokens / 2 + i] + zero);
      }
      ShowToCopyEngine();
      WarpgroupSync(warpgroup);
      if (!StoresBoxes()) continue;
#pragma unroll
      for (int box = 0; box < 2; ++box) {
        const int64_t column = output + box * kColumns;
        if (column >= args.p.outputs) break;
        if (adds) {
          AddBox(args.result, boxes + box * kBoxBytes, column, token);
        } else {
          StoreBox(args.result, boxes + box * kBoxBytes, column, token);
        }
      }
      CommitBoxes();
    }
  }
}

// Four matrices of 8 × 8 elements, their columns as rows: lane 8 i + r says where column r of
// matrix i goes.
__device__ __forceinline__ void StoreTransposed(uint32_t to, const uint32_t (&matrices)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(matrices[0]), "r"(matrices[1]), "r"(matrices[2]), "r"(matrices[3])
               : "memory");
}

// As StoreGated.
template <typename Tile, typename T>
__device__ __forceinline__ void StoreGatedInBulk(const HopperArgs& args, const TilePlace& place,
                                                 const typename Tile::Sums& sums, int warpgroup,
                                                 char* stored) {
  static_assert(Tile::kOutputs / 2 * sizeof(T) == kBoxRowBytes &&
                Tile::kTokens * kBoxRowBytes <= Tile::kStoredBytes);
  const MatMulParams& p = args.p;
  const int thread = threadIdx.x % kWarpgroupThreads, lane = thread % 32, warp = thread / 32;
  const uint32_t box = SharedAddress(stored);
  if (StoresBoxes()) WaitUntilRead();
  WarpgroupSync(warpgroup);
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    const int64_t gate = place.output + band * kBandOutputs + warp * 16 + lane / 4;
    const bool biased = p.bias != nullptr && gate + 8 < p.outputs;
    const float gate_bias = biased ? p.bias[gate] : 0, up_bias = biased ? p.bias[gate + 8] : 0;
    // A warp has a chunk of each token's row: this lane, of the first 32 tokens, number `lane`.
    const uint32_t mine = box + lane * kBoxRowBytes + ((band * 4 + warp) ^ lane % 8) * 16;
#pragma unroll
    for (int part = 0; part < Tile::kTokens / 32; ++part) {
      uint32_t matrices[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float inner[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = part * 16 + i * 4 + e;
          // As MatMul's, where -0 becomes 0.
          float g = 0.0f + sums[band][at], u = 0.0f + sums[band][at + 2];
          if (p.bias != nullptr) g += gate_bias, u += up_bias;
          inner[e] = SwiGluOf(g, u);
        }
        matrices[i] = Pack<T>(inner[0], inner[1]);
      }
      StoreTransposed(mine + part * 32 * kBoxRowBytes, matrices);
    }
  }
  ShowToCopyEngine();
  WarpgroupSync(warpgroup);
  if (!StoresBoxes()) return;
  StoreBox(args.result, box, place.output / 2, place.token);
  CommitBoxes();
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_BULK_STORE_CUH_
