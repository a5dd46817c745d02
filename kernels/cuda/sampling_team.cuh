#ifndef SIEVE_KERNELS_CUDA_SAMPLING_TEAM_CUH_
#define SIEVE_KERNELS_CUDA_SAMPLING_TEAM_CUH_

// The blocks that share a row of logits: a cluster, or one block where there are none (before
// Hopper). What they compute is the same in any number of blocks, for it is exact.

#include <array>
#include <bit>
#include <cstdint>

namespace sieve::cuda {

inline constexpr int kSampleThreads = 512;
inline constexpr int kSampleWarps = kSampleThreads / 32;
inline constexpr int kMaxTeamBlocks = 8;

// In shared memory.
struct TeamScratch {
  // Two of each: a value is read while the next is written, and no later.
  uint4 warps[2][kSampleWarps];
  uint4 blocks[2][kMaxTeamBlocks];
  uint64_t sums[2][kSampleWarps];
};

// Where a running sum reached its target.
struct Reached {
  int32_t at = -1;      // which summand; none: it did not
  uint64_t before = 0;  // the sum of those before
  uint64_t rest = 0;    // what of the target was left
};

template <typename T>
__device__ __forceinline__ T ShuffleXor(const T& value, int offset) {
  auto words = std::bit_cast<std::array<uint32_t, sizeof(T) / 4>>(value);
#pragma unroll
  for (uint32_t& word : words) word = __shfl_xor_sync(~0u, word, offset);
  return std::bit_cast<T>(words);
}

// All threads of all blocks call its functions alike; SumBefore and FirstToReach, all threads of
// one block.
class Team {
 public:
  __device__ explicit Team(TeamScratch* scratch) : scratch_(scratch), size_(Blocks()) {
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank_));
#endif
    Sync();  // each block's memory is there from when it has started
  }

  // size() of any.
  __device__ static int Blocks() {
    int blocks = 1;
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
#endif
    return blocks;
  }

  __device__ int rank() const { return rank_; }
  __device__ int size() const { return size_; }

  // What was written to any block's shared memory before can be read after it.
  __device__ void Sync() const {
#if __CUDA_ARCH__ >= 900
    if (size_ > 1) {
      asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
      asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
      return;
    }
#endif
    __syncthreads();
  }

  // Another block's copy of what `shared` points to in this block's.
  template <typename T>
  __device__ T* Of(int rank, T* shared) const {
#if __CUDA_ARCH__ >= 900
    if (size_ > 1) {
      T* remote;
      asm("mapa.u64 %0, %1, %2;" : "=l"(remote) : "l"(shared), "r"(rank));
      return remote;
    }
#endif
    return shared;
  }

  // combine(...) over all threads of each block: [size()], to be read before the next but one call
  // of this or of Reduce. T is plain, of 8 or 16 bytes.
  template <typename T, typename F>
  __device__ const T* ReduceBlocks(T value, F combine) {
    turn_ ^= 1;
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      value = combine(value, ShuffleXor(value, offset));
    }
    T* const warps = reinterpret_cast<T*>(scratch_->warps[turn_]);
    T* const blocks = reinterpret_cast<T*>(scratch_->blocks[turn_]);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < size_) {
      value = warps[0];
      for (int i = 1; i < kSampleWarps; ++i) value = combine(value, warps[i]);
      Of(threadIdx.x, blocks)[rank_] = value;
    }
    Sync();
    return blocks;
  }

  // combine(...) over all threads of all blocks.
  template <typename T, typename F>
  __device__ T Reduce(T value, F combine) {
    const T* const blocks = ReduceBlocks(value, combine);
    T result = blocks[0];
    for (int i = 1; i < size_; ++i) result = combine(result, blocks[i]);
    return result;
  }

  // The sum over the threads of this block before this one, and over all in *total.
  __device__ uint64_t SumBefore(uint64_t value, uint64_t* total) {
    sum_turn_ ^= 1;
    uint64_t* const warps = scratch_->sums[sum_turn_];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint64_t sum = value;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const uint64_t before = __shfl_up_sync(~0u, sum, offset);
      if (lane >= offset) sum += before;
    }
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    uint64_t before = 0, all = 0;
    for (int i = 0; i < kSampleWarps; ++i) {
      if (i == warp) before = all;
      all += warps[i];
    }
    *total = all;
    return before + sum - value;
  }

  // Adds up amount(i) for i = 0 .. 4 kSampleThreads - 1 until target(sum of all) is reached.
  // `result` is in shared memory.
  template <typename Amount, typename Target>
  __device__ Reached FirstToReach(Amount amount, Target target, Reached* result) {
    constexpr int kEach = 4;
    uint64_t amounts[kEach], sum = 0, total;
#pragma unroll
    for (int i = 0; i < kEach; ++i) sum += amounts[i] = amount(kEach * threadIdx.x + i);
    uint64_t before = SumBefore(sum, &total);
    const uint64_t goal = target(total);
    if (total < goal) return {};
    if (before < goal && goal - before <= sum) {
      int i = 0;
#pragma unroll
      for (; i < kEach - 1; ++i) {
        if (goal - before <= amounts[i]) break;
        before += amounts[i];
      }
      *result = {static_cast<int32_t>(kEach * threadIdx.x) + i, before, goal - before};
    }
    __syncthreads();
    return *result;
  }

 private:
  TeamScratch* scratch_;
  const int size_;
  int rank_ = 0;
  int turn_ = 0, sum_turn_ = 0;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SAMPLING_TEAM_CUH_
