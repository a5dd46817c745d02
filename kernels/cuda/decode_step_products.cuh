#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_

// Products of a decoding step: weights from the ring, activations in shared memory, a warp a chain.

#include <cstdint>

#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/weight_stream.cuh"

namespace sieve::cuda {

inline constexpr int kConsumers = 32 * kConsumerWarps;

// A barrier of the warps that compute.
__device__ __forceinline__ void ConsumerSync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConsumers) : "memory");
}

// A lane's view of the activations [num_tokens, stride] in shared memory: of row lane % 8 the chunk
// lane / 8; rows that do not exist are read from 16 zero bytes.
struct ActivationLane {
  const char* row = nullptr;
  int step = 0;  // bytes for each element of k: 2, or 0 where there is no row
};

// Fragments of 64 of k: four steps of 16.
struct StepFragments {
  uint32_t weights[4][4];
  uint32_t x[2][4];
};

__device__ __forceinline__ void LoadFragments(const char* tile, const ActivationLane& x, int k,
                                              StepFragments* f) {
  const int lane = threadIdx.x % 32, row = lane % 16;
  const char* const at = tile + row * 128;
  const int chunk = (lane / 16) ^ (row % 8);
#pragma unroll
  for (int i = 0; i < 4; ++i) LoadMatrices4(at + ((chunk ^ (2 * i)) * 16), f->weights[i]);
#pragma unroll
  for (int i = 0; i < 2; ++i) LoadMatrices4(x.row + (k + 32 * i) * x.step, f->x[i]);
}

template <typename T>
__device__ __forceinline__ void MultiplyFragments(const StepFragments& f, float (&sums)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    Mma<T>(sums, f.weights[i], f.x[i / 2][i % 2 * 2], f.x[i / 2][i % 2 * 2 + 1]);
  }
}

// One slot: `depth` of k (a multiple of 64), from `k` on. Fragments are read one tile ahead.
template <typename T>
__device__ __forceinline__ void MultiplySlot(const char* slot, const ActivationLane& x, int k,
                                             int depth, float (&sums)[4]) {
  constexpr int kTileBytes = kWeightTileElements * 2;
  StepFragments now, next;
  LoadFragments(slot, x, k, &now);
#pragma unroll
  for (int tile = 0; tile < kSlotDepth / kWeightTileDepth; ++tile) {
    if (tile * kWeightTileDepth >= depth) break;
    if (tile + 1 < kSlotDepth / kWeightTileDepth) {
      LoadFragments(slot + (tile + 1) * kTileBytes, x, k + (tile + 1) * kWeightTileDepth, &next);
    }
    MultiplyFragments<T>(now, sums);
    now = next;
  }
}

// Calls f(e, token, row) for the elements of sums[16 rows, 8 tokens] that a lane holds.
template <typename F>
__device__ __forceinline__ void ForSums(int block, int num_tokens, F f) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int token = lane % 4 * 2 + e % 2;
    if (token < num_tokens) f(e, token, block * kWeightTileRows + lane / 4 + e / 2 * 8);
  }
}

// What a warp that computes knows of the step.
struct ConsumerState {
  StreamRing ring;
  StreamPosition at;  // of the phase's next round
  Dealer dealer;
  float (*exchange)[32][4] = nullptr;  // [kConsumerWarps]: sums of chains
};

// y = W x for the block's share of the outputs. begin(block, sums): what the sums start with;
// end(block, sums): the sums, complete but for the bias. All warps that compute come here.
template <typename T, typename Begin, typename End>
__device__ __forceinline__ void Product(ConsumerState* state, int outputs, int inputs,
                                        const ActivationLane& x, Begin begin, End end) {
  const MatrixWalk walk(outputs, inputs);
  const Deal deal = state->dealer.Take(walk.blocks);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, chain = warp % walk.chains;
  for (int i = 0; i < deal.count; i += walk.blocks_a_round(state->ring.count)) {
    const int tasks = min(walk.blocks_a_round(state->ring.count), deal.count - i) * walk.chains;
    const int block = deal.item(i + warp / walk.chains);
    float total[4] = {}, sums[4] = {};
    if (warp < tasks) {
      if (chain == 0) begin(block, total);
      StreamPosition mine = state->at;
      mine.Advance(warp, state->ring.count);
      for (int step = 0; step < walk.steps; ++step) {
        state->ring.Await(mine);
        MultiplySlot<T>(state->ring.data(mine), x, chain * walk.depth + step * kSlotDepth,
                        walk.depth_at(step), sums);
        state->ring.Release(mine);
        mine.Advance(tasks, state->ring.count);
      }
    }
    if (walk.chains > 1) {
#pragma unroll
      for (int e = 0; e < 4; ++e) state->exchange[warp][lane][e] = sums[e];
      ConsumerSync();
    }
    if (warp < tasks && chain == 0) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        total[e] += sums[e];
        for (int other = 1; other < walk.chains; ++other) {
          total[e] += state->exchange[warp + other][lane][e];
        }
      }
      end(block, total);
    }
    if (walk.chains > 1) ConsumerSync();
    state->at.Advance(tasks * walk.steps, state->ring.count);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCTS_CUH_
