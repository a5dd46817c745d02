#ifndef SIEVE_KERNELS_CUDA_WEIGHT_STREAM_CUH_
#define SIEVE_KERNELS_CUDA_WEIGHT_STREAM_CUH_

// A ring of slots in shared memory through which one warp streams what is in device memory, in an
// order that producer and consumers both know, to the warps that compute (sm_90 and up).

#include <cstdint>

#include "kernels/cuda/stage_barrier.cuh"

namespace sieve::cuda {

inline constexpr int kSlotBytes = 16384;
inline constexpr int kMaxSlots = 14;

// A place in the stream: slot, the parity of how often it was used before, and how many slots came
// since all warps that compute last met at a barrier.
struct StreamPosition {
  int slot = 0;
  uint32_t parity = 0;
  int since = 0;

  __device__ __forceinline__ void Advance(int slots, int ring_slots) {
    since += slots;
    slot += slots;
    while (slot >= ring_slots) {
      slot -= ring_slots;
      parity ^= 1;
    }
  }
  // Advance by no more than the ring has.
  __device__ __forceinline__ void Step(int slots, int ring_slots) {
    since += slots;
    slot += slots;
    const bool around = slot >= ring_slots;
    slot -= around ? ring_slots : 0;
    parity ^= around ? 1 : 0;
  }
};

struct StreamRing {
  char* slots = nullptr;  // 1024-byte aligned
  StageBarrier* full = nullptr;
  StageBarrier* empty = nullptr;
  int count = 0;

  __device__ __forceinline__ char* data(const StreamPosition& at) const {
    return slots + at.slot * kSlotBytes;
  }
  // By one thread, before any other call.
  __device__ __forceinline__ void Init() const {
    for (int i = 0; i < count; ++i) {
      full[i].Init(1);
      empty[i].Init(1);
    }
    PublishBarriers();
  }

  // The producer's: fills the slot with `bytes` (a multiple of 16) from device memory as soon as it
  // is free. By one thread.
  __device__ __forceinline__ void Fill(const StreamPosition& at, const void* from,
                                       uint32_t bytes) const {
    empty[at.slot].Wait(at.parity ^ 1);
    full[at.slot].ArriveExpecting(bytes);
    CopyBulk(data(at), from, bytes, &full[at.slot]);
  }

  // The consumer's: a warp waits for a slot, reads it, and lets it go. Copies arrive in any order,
  // so that the slot's last content, another warp's, may still be on its way: the parity of `full`
  // alone would take the time before it for the time after. Where that content was not let go
  // before a barrier, that other warp is waited for first. No warp may be more than `count` slots
  // ahead of its last one.
  __device__ __forceinline__ void Await(const StreamPosition& at) const {
    if (at.since >= count) empty[at.slot].Wait(at.parity ^ 1);
    full[at.slot].Wait(at.parity);
  }
  __device__ __forceinline__ void Release(const StreamPosition& at) const {
    __syncwarp();
    empty[at.slot].ArriveOnce();
  }
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_WEIGHT_STREAM_CUH_
