#ifndef SIEVE_KERNELS_CUDA_STAGE_BARRIER_CUH_
#define SIEVE_KERNELS_CUDA_STAGE_BARRIER_CUH_

// Barriers between threads that copy to shared memory and threads that use it (sm_90 and up).

#include <cstdint>

namespace sieve::cuda {

// A barrier in shared memory. Its phases alternate in parity, from 0.
class StageBarrier {
 public:
  __device__ __forceinline__ void Init(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(Address()), "r"(arrivals)
                 : "memory");
  }
  __device__ __forceinline__ void Arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(Address()) : "memory");
  }
  // One arrival of a whole warp.
  __device__ __forceinline__ void ArriveOnce() {
    asm volatile(
        "{\n"
        ".reg .pred one;\n"
        "elect.sync _|one, 0xffffffff;\n"
        "@one mbarrier.arrive.shared::cta.b64 _, [%0];\n"
        "}\n" ::"r"(Address())
        : "memory");
  }
  // An arrival when all that this thread has asked CopyAsync16 for has come.
  __device__ __forceinline__ void ArriveAfterCopies() {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(Address())
                 : "memory");
  }
  // An arrival that also announces bytes which bulk copies will bring in this phase.
  __device__ __forceinline__ void ArriveExpecting(uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(Address()),
                 "r"(bytes)
                 : "memory");
  }
  // Until the phase of this parity is over.
  __device__ __forceinline__ void Wait(uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(Address()),
        "r"(parity)
        : "memory");
  }
  __device__ __forceinline__ uint32_t Address() const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(&state_));
  }

 private:
  uint64_t state_;
};

// Copies `bytes` (a multiple of 16; both addresses 16-byte aligned) from device memory to shared
// memory; `barrier` is told when they have come.
__device__ __forceinline__ void CopyBulk(void* to, const void* from, uint32_t bytes,
                                         const StageBarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
      "l"(from), "r"(bytes), "r"(barrier->Address())
      : "memory");
}

// CopyBulk of what is read once: it leaves the level-2 cache first, and all else stays there.
__device__ __forceinline__ void CopyBulkOnce(void* to, const void* from, uint32_t bytes,
                                             const StageBarrier* barrier) {
  asm volatile(
      "{\n"
      ".reg .b64 once;\n"
      "createpolicy.fractional.L2::evict_first.b64 once, 1.0;\n"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], %2, [%3], once;\n"
      "}\n" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))),
      "l"(from), "r"(bytes), "r"(barrier->Address())
      : "memory");
}

// The copy engine, and other blocks of the cluster, see the barriers as they are now.
__device__ __forceinline__ void PublishBarriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

// A barrier of all threads of all blocks of the cluster, in two halves.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_STAGE_BARRIER_CUH_
