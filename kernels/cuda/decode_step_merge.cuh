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

// Of kHeads heads, `stride` apart, a lane's elements 2 lane and the next. Reads all that it needs
// at once, or, if there are more splits, four of them.
template <int kHeads>
__device__ __forceinline__ void MergeHeads(const DecodeStepParams& p, int token, int head,
                                           int stride, int splits, float2 (&out)[kHeads]) {
  constexpr int kAhead = 4;
  SoftmaxState state[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) out[h] = make_float2(0, 0);
  for (int begin = 0; begin < splits; begin += kAhead) {
    // Lane 4 h + s reads the maximum and total of split s of head h.
    const int lane = threadIdx.x % 32, part = begin + lane % kAhead;
    const auto partial_of = [&](int h, int split) {
      return reinterpret_cast<const float2*>(
          PartialOf(p, token, min(head + h * stride, p.num_heads - 1)) + split * kPartialFloats);
    };
    float2 parts = make_float2(-INFINITY, 0);  // a split that does not exist changes nothing
    if (lane < kHeads * kAhead && part < splits) {
      parts = __ldcg(partial_of(lane / kAhead, part) + kStepHeadDim / 2);
    }
    float2 values[kHeads][kAhead];
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        values[h][s] =
            begin + s < splits ? __ldcg(partial_of(h, begin + s) + lane) : make_float2(0, 0);
      }
    }
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        const MergeFactors f = Merge(&state[h], {__shfl_sync(~0u, parts.x, h * kAhead + s),
                                                 __shfl_sync(~0u, parts.y, h * kAhead + s)});
        out[h].x = MergeValue(f, out[h].x, values[h][s].x);
        out[h].y = MergeValue(f, out[h].y, values[h][s].y);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const float scale = __frcp_rn(state[h].total);
    out[h] = make_float2(out[h].x * scale, out[h].y * scale);
  }
}

struct MergeScratch {
  float4 parts[kMaxMergedSplits];  // factors for what is old and new, total
  float warp_max[kConsumerWarps];
  alignas(16) float out[kMergeDims][kMergeChunk + 4];  // no bank is met twice
};

// Fills scratch->parts. A thread has two splits next to each other.
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
    const MergeFactors f = Merge(&before, {state[i].x, 0});
    scratch->parts[2 * threadIdx.x + i] = make_float4(f.old_factor, f.new_factor, state[i].y, 0);
    max = before.max;
  }
}

// Adds splits begin .. begin + count - 1 of a thread's element. What the chain of additions needs
// is read kAhead splits at a time, before its turn: shared memory answers more slowly than it goes
// on.
__device__ __forceinline__ void AddSplits(const MergeScratch& scratch, int begin, int count,
                                          float* sum, float* total) {
  constexpr int kAhead = 4;
  static_assert(kMergeChunk % (2 * kAhead) == 0);
  float4 part[2][kAhead], values[2];
  const auto load = [&](int i, int set) {
    values[set] = *reinterpret_cast<const float4*>(&scratch.out[threadIdx.x][i]);
#pragma unroll
    for (int a = 0; a < kAhead; ++a) part[set][a] = scratch.parts[begin + i + a];
  };
  const auto add = [&](const float4& p, float value) {
    const MergeFactors f = {p.x, p.y};
    *sum = MergeValue(f, *sum, value);
    *total = MergeValue(f, *total, p.z);
  };
  load(0, 0);
  int i = 0;
  for (; i + 2 * kAhead <= count; i += 2 * kAhead) {
#pragma unroll
    for (int set = 0; set < 2; ++set) {
      const int next = i + (set + 1) * kAhead;
      if (next < kMergeChunk) load(next, set ^ 1);
      add(part[set][0], values[set].x);
      add(part[set][1], values[set].y);
      add(part[set][2], values[set].z);
      add(part[set][3], values[set].w);
    }
  }
  for (; i < count; ++i) add(scratch.parts[begin + i], scratch.out[threadIdx.x][i]);
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
      scratch->out[2 * pair][row + i * kRows] = ahead[i].x;
      scratch->out[2 * pair + 1][row + i * kRows] = ahead[i].y;
    }
    ConsumerSync();
    load(begin + kMergeChunk);
    if (threadIdx.x < kMergeDims) {
      AddSplits(*scratch, begin, min(kMergeChunk, splits - begin), &sum, &total);
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
    MergeDims(PartialOf(p, token, head), SplitsOf(plan.positions[token]),
              item % kParts * kMergeDims, static_cast<T*>(p.attention) + row * kStepHeadDim,
              scratch);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_MERGE_CUH_
