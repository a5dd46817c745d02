#ifndef SIEVE_KERNELS_CUDA_GRID_BARRIER_CUH_
#define SIEVE_KERNELS_CUDA_GRID_BARRIER_CUH_

#include <cstdint>

namespace sieve::cuda {

// A barrier among all blocks of a cooperative launch. `counters` are two words of device memory,
// zero before the launch and zero again after it.
class GridBarrier {
 public:
  __device__ explicit GridBarrier(uint32_t* counters) : counters_(counters) {}

  // By one thread of each block, between barriers of the block's threads: what these wrote before
  // is then seen by all (through L2: read it with __ldcg).
  __device__ __forceinline__ void Sync() {
    target_ += gridDim.x;
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counters_) : "memory");
    uint32_t arrived;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                   : "=r"(arrived)
                   : "l"(counters_)
                   : "memory");
    } while (arrived < target_);
  }

  // By the same thread, after its last Sync: the last block to come here sets the words to zero.
  __device__ __forceinline__ void Finish() {
    if (atomicAdd(counters_ + 1, 1) == gridDim.x - 1) counters_[0] = counters_[1] = 0;
  }

 private:
  uint32_t* const counters_;
  uint32_t target_ = 0;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_GRID_BARRIER_CUH_
