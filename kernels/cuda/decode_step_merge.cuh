#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_MERGE_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_MERGE_CUH_

// How the partial results of a decoding step's attention are merged: split after split, as
// attention_split.cuh says. Few of them are merged by every block for itself. Many are shared out:
// what comes from the maxima is computed side by side, and a thread an element adds up.

#include <cstdint>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/decode_step_attention.cuh"
#include "kernels/cuda/element.cuh"

namespace sieve::cuda {

inline constexpr int kMaxMergedSplits = 512;
inline constexpr int kMergeDims = 16;    // of a head, at a time
inline constexpr int kMergeChunk = 256;  // splits, at a time

// Splits of all tokens together up to which every block merges for itself.
inline constexpr int kMergeEverywhere = 8;

// Of kHeads heads, `stride` apart, a lane's elements 2 lane and the next. Reads all that it needs at
// once, or, if there are more splits, four of them.
template <int kHeads>
__device__ __forceinline__ void MergeHeads(const DecodeStepParams& p, int token, int head,
                                           int stride, int splits, float2 (&out)[kHeads]) {
  constexpr int kAhead = 4;
  SoftmaxState state[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) out[h] = make_float2(0, 0);
  for (int begin = 0; begin < splits; begin += kAhead) {
    // A split that does not exist changes nothing.
    float2 parts[kHeads][kAhead], values[kHeads][kAhead];
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float* partial = PartialOf(p, token, min(head + h * stride, p.num_heads - 1));
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        const bool exists = begin + s < splits;
        const auto* at = reinterpret_cast<const float2*>(partial + (begin + s) * kPartialFloats);
        parts[h][s] = exists ? __ldcg(at + kStepHeadDim / 2) : make_float2(-INFINITY, 0);
        values[h][s] = exists ? __ldcg(at + threadIdx.x % 32) : make_float2(0, 0);
      }
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        const MergeFactors f = Merge(&state[h], {parts[h][s].x, parts[h][s].y});
        out[h].x = MergeValue(f, out[h].x, values[h][s].x);
        out[h].y = MergeValue(f, out[h].y, values[h][s].y);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float scale = 1 / state[h].total;
    out[h] = make_float2(out[h].x * scale, out[h].y * scale);
  }
}

struct MergeScratch {
  float2 states[kMaxMergedSplits];  // max, total
  MergeFactors factors[kMaxMergedSplits];
  float warp_max[kConsumerWarps];
  float out[kMergeChunk][kMergeDims];
};

// Fills states and factors. A thread has two splits next to each other.
__device__ __forceinline__ void MergeFactorsOf(const float* partial, int splits,
                                               MergeScratch* scratch) {
  static_assert(kMaxMergedSplits == 2 * kConsumers);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float2 state[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int split = 2 * static_cast<int>(threadIdx.x) + i;
    state[i] = split < splits ? __ldcg(reinterpret_cast<const float2*>(
                                    partial + split * kPartialFloats + kStepHeadDim))
                              : make_float2(-INFINITY, 0);
    scratch->states[split] = state[i];
  }
  float running = fmaxf(state[0].x, state[1].x);  // of this lane and those before
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const float before = __shfl_up_sync(~0u, running, offset);
    if (lane >= offset) running = fmaxf(running, before);
  }
  if (lane == 31) scratch->warp_max[warp] = running;
  ConsumerSync();
  float max = __shfl_up_sync(~0u, running, 1);  // of all splits before this thread's
  if (lane == 0) max = -INFINITY;
  for (int i = 0; i < warp; ++i) max = fmaxf(max, scratch->warp_max[i]);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    SoftmaxState before = {max, 0};
    scratch->factors[2 * threadIdx.x + i] = Merge(&before, {state[i].x, 0});
    max = before.max;
  }
}

// kMergeDims elements of a head from dimension `first` on. All threads that compute come here.
template <typename T>
__device__ __forceinline__ void MergeDims(const float* partial, int splits, int first, T* out,
                                          MergeScratch* scratch) {
  constexpr int kPairs = kMergeDims / 2, kRows = kConsumers / kPairs;
  const int pair = threadIdx.x % kPairs, row = threadIdx.x / kPairs;
  float2 ahead[kMergeChunk / kRows] = {};
  const auto load = [&](int begin) {
#pragma unroll
    for (int i = 0; i < kMergeChunk / kRows; ++i) {
      const int split = begin + row + i * kRows;
      if (split >= splits) continue;
      ahead[i] = __ldcg(
          reinterpret_cast<const float2*>(partial + split * kPartialFloats + first + 2 * pair));
    }
  };
  load(0);
  MergeFactorsOf(partial, splits, scratch);
  float sum = 0, total = 0;
  for (int begin = 0; begin < splits; begin += kMergeChunk) {
#pragma unroll
    for (int i = 0; i < kMergeChunk / kRows; ++i) {
      *reinterpret_cast<float2*>(&scratch->out[row + i * kRows][2 * pair]) = ahead[i];
    }
    ConsumerSync();
    load(begin + kMergeChunk);
    if (threadIdx.x < kMergeDims) {
#pragma unroll 8
      for (int i = 0; i < min(kMergeChunk, splits - begin); ++i) {
        const MergeFactors f = scratch->factors[begin + i];
        sum = MergeValue(f, sum, scratch->out[i][threadIdx.x]);
        total = MergeValue(f, total, scratch->states[begin + i].y);
      }
    }
    ConsumerSync();
  }
  if (threadIdx.x < kMergeDims) out[first + threadIdx.x] = FromFloat<T>(sum * (1 / total));
}

// The block's share of all heads; p.attention is complete after the next barrier of the grid.
template <typename T>
__device__ __forceinline__ void MergeShare(const DecodeStepParams& p, const StepPlan& plan,
                                           MergeScratch* scratch) {
  constexpr int kParts = kStepHeadDim / kMergeDims;
  for (int item = blockIdx.x; item < p.num_tokens * p.num_heads * kParts; item += gridDim.x) {
    const int row = item / kParts, token = row / p.num_heads, head = row % p.num_heads;
    MergeDims(PartialOf(p, token, head), SplitsOf(plan.positions[token]), item % kParts * kMergeDims,
              static_cast<T*>(p.attention) + row * kStepHeadDim, scratch);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_MERGE_CUH_
