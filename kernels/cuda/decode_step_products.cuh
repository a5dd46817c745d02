#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_

// Products of a decoding step: weights from the ring, activations in shared memory, a warp a chain.

#include <cstdint>

#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/weight_stream.cuh"

namespace sieve::cuda {

// A barrier of the warps that compute.
__device__ __forceinline__ void ConsumerSync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

// Where a lane's rows for ldmatrix are, in shared memory.
struct LaneAddresses {
  // Of the activations [num_tokens, stride]: row lane % 8, chunk lane / 8.
  uint32_t x = 0;
  // Of a tile's first 16 of k: row lane % 16, chunk lane / 16, permuted.
  uint32_t weights = 0;
};

// Rows of tokens that do not exist are those of the first; nobody looks at their columns.
__device__ __forceinline__ LaneAddresses AddressesOf(const char* activations, int stride,
                                                     int num_tokens) {
  const int lane = threadIdx.x % 32, token = lane % 8 < num_tokens ? lane % 8 : 0;
  LaneAddresses at;
  at.x = SharedAddress(activations + token * stride + lane / 8 * 16);
  at.weights = lane % 16 * 128 + (lane / 16 ^ lane % 8) * 16;
  return at;
}

template <int kOffset>
__device__ __forceinline__ void LoadMatricesAt(uint32_t address, uint32_t (&m)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(address), "n"(kOffset));
}

// Fragments of 64 of k: four steps of 16.
struct TileFragments {
  uint32_t weights[4][4];
  uint32_t x[2][4];
};

// Tile kTile of the slot that `at` is in.
template <int kTile>
__device__ __forceinline__ void LoadTile(const LaneAddresses& at, TileFragments* f) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // Chunks 2 i and 2 i + 1: slots are aligned, so that the permutation is one of the address.
    LoadMatricesAt<kTile * kWeightTileElements * 2>(at.weights ^ 32 * i, f->weights[i]);
  }
  LoadMatricesAt<kTile * kWeightTileDepth * 2>(at.x, f->x[0]);
  LoadMatricesAt<kTile * kWeightTileDepth * 2 + 64>(at.x, f->x[1]);
}

template <typename T, int kFirst, int kEnd>
__device__ __forceinline__ void MultiplySteps(const TileFragments& f, float (&sums)[4]) {
#pragma unroll
  for (int i = kFirst; i < kEnd; ++i) {
    Mma<T>(sums, f.weights[i], f.x[i / 2][i % 2 * 2], f.x[i / 2][i % 2 * 2 + 1]);
  }
}

// Tiles kTile .. 6 of a full slot, whose fragments are loaded one tile ahead.
template <typename T, int kTile>
__device__ __forceinline__ void MultiplyTiles(const LaneAddresses& at, TileFragments (&f)[2],
                                              float (&sums)[4]) {
  if constexpr (kTile + 1 < kSlotTiles) {
    LoadTile<kTile + 1>(at, &f[(kTile + 1) % 2]);
    MultiplySteps<T, 0, 4>(f[kTile % 2], sums);
    MultiplyTiles<T, kTile + 1>(at, f, sums);
  }
}

// A warp's chain over `tiles` tiles of 64 of k, from slots `at`, `at` + stride, ... The next tile's
// fragments are loaded while one is multiplied, across slots too: a slot is let go, and the next
// waited for, when its last tile is in registers. What lies between two slots is short, since no
// product is computed meanwhile.
template <typename T>
__device__ __forceinline__ void MultiplyChain(const StreamRing& ring, StreamPosition at, int stride,
                                              int tiles, const LaneAddresses& lane,
                                              float (&sums)[4]) {
  const uint32_t first = SharedAddress(ring.slots) + lane.weights;
  LaneAddresses from = {lane.x, first + at.slot * kSlotBytes};
  TileFragments f[2];
  ring.Await(at);
  LoadTile<0>(from, &f[0]);
#pragma unroll 1
  while (tiles >= kSlotTiles) {
    MultiplyTiles<T, 0>(from, f, sums);
    TileFragments& tail = f[(kSlotTiles - 1) % 2];
    MultiplySteps<T, 0, 1>(tail, sums);
    ring.Release(at);
    tiles -= kSlotTiles;
    if (tiles > 0) {
      at.Step(stride, ring.count);
      from = {from.x + kSlotDepth * 2, first + at.slot * kSlotBytes};
      ring.Await(at);
      LoadTile<0>(from, &f[0]);
    }
    MultiplySteps<T, 1, 4>(tail, sums);
  }
  if (tiles == 0) return;
  // A slot that is not full.
  for (;;) {
    MultiplySteps<T, 0, 4>(f[0], sums);
    if (--tiles == 0) break;
    from = {from.x + kWeightTileDepth * 2, from.weights + kWeightTileElements * 2};
    LoadTile<0>(from, &f[0]);
  }
  ring.Release(at);
}

// Calls f(e, token, row) for the elements of sums[16 rows, 8 tokens] that a lane holds.
template <typename F>
__device__ __forceinline__ void ForSums(int item, int num_tokens, F f) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int token = lane % 4 * 2 + e % 2;
    if (token < num_tokens) f(e, token, item * kWeightTileRows + lane / 4 + e / 2 * 8);
  }
}

// What a warp that computes knows of the step.
struct ConsumerState {
  StreamRing ring;
  StreamPosition at;  // of the phase's next round
  Dealer dealer;
  float4 (*exchange)[32] = nullptr;  // [kGroupWarps]: sums of second chains
};

// y = W x for the block's share of the outputs. begin(item, sums): what the sums start with;
// end(item, sums): the sums, complete but for the bias. All warps that compute come here.
template <typename T, typename Begin, typename End>
__device__ __forceinline__ void Product(ConsumerState* state, const PhasePlan& plan,
                                        LaneAddresses addresses, Begin begin, End end) {
  const Deal deal = state->dealer.Take(plan);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool two = plan.chains == 2;
  const int chain = two ? warp % 2 : 0, mine = two ? warp / 2 : warp;
  addresses.x += chain * plan.depth * 2;
  for (int i = 0; i < deal.count; i += plan.items_a_round) {
    const int items = min(plan.items_a_round, deal.count - i), tasks = items * plan.chains;
    const bool active = mine < items;
    const int item = deal.item(i + mine);
    float total[4] = {}, sums[4] = {};
    if (active) {
      if (chain == 0) begin(item, total);
      StreamPosition at = state->at;
      at.Step(warp, state->ring.count);
      MultiplyChain<T>(state->ring, at, tasks, plan.depth / kWeightTileDepth, addresses, sums);
    }
    float4 second = {};
    if (two) {
      if (active && chain == 1) {
        state->exchange[mine][lane] = make_float4(sums[0], sums[1], sums[2], sums[3]);
      }
      ConsumerSync();
      second = state->exchange[mine][lane];
      if (i + items < deal.count) ConsumerSync();
    }
    if (active && chain == 0) {
#pragma unroll
      for (int e = 0; e < 4; ++e) total[e] += sums[e];
      if (two) {
        total[0] += second.x;
        total[1] += second.y;
        total[2] += second.z;
        total[3] += second.w;
      }
      end(item, total);
    }
    state->at.Advance(tasks * plan.steps, state->ring.count);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_
