#ifndef SIEVE_KERNELS_CUDA_PAGE_RING_CUH_
#define SIEVE_KERNELS_CUDA_PAGE_RING_CUH_

// A ring of slots in shared memory through which one warp brings the pages of a tile's keys and
// values to the warpgroups that compute (sm_90a; pages that are swizzled).

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/attention_wgmma.cuh"
#include "kernels/cuda/stage_barrier.cuh"

namespace sieve::cuda {

// Of a page's keys, and of the values after them.
template <int kHeadDim>
inline constexpr int kValuesBytes = kHeadDim / 64 * kPageColumnBytes;
template <int kHeadDim>
inline constexpr int kPageBytes = 2 * kValuesBytes<kHeadDim>;

template <int kHeadDim>
inline constexpr int kRingSlots = 131072 / kPageBytes<kHeadDim>;

// Page i of the tile is in slot i % kRingSlots. Each warpgroup uses all slots in order, and so is
// never more than a ring ahead of a barrier.
template <int kHeadDim>
struct PageRing {
  char slots[kRingSlots<kHeadDim>][kPageBytes<kHeadDim>];  // at a multiple of 1,024 bytes
  StageBarrier full[kRingSlots<kHeadDim>];
  StageBarrier empty[kRingSlots<kHeadDim>];

  // By one thread, before any other call.
  __device__ __forceinline__ void Init(int consumer_warps) {
    for (int i = 0; i < kRingSlots<kHeadDim>; ++i) {
      full[i].Init(1);
      empty[i].Init(consumer_warps);
    }
    // The copy engine must see the barriers as they are now.
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::
                     : "memory");
  }
};

// The four pages of a split in the ring, for those who use them.
template <int kHeadDim>
class SplitInRing {
 public:
  // `columns` describes the first column of slot 0, `barriers` is the address of its `full`. A ring
  // holds whole splits; the tile's page `first` begins one.
  __device__ __forceinline__ SplitInRing(uint64_t columns, uint32_t barriers, uint32_t first)
      : columns_(columns + first % kRingSlots<kHeadDim> * (kPageBytes<kHeadDim> / 16)),
        barriers_(barriers + first % kRingSlots<kHeadDim> * sizeof(StageBarrier)),
        parity_(first / kRingSlots<kHeadDim> % 2) {
    static_assert(kRingSlots<kHeadDim> % kPagesPerSplit == 0);
  }

  __device__ __forceinline__ void Await(int page) const { Barrier(page)->Wait(parity_); }
  // The page's first column.
  __device__ __forceinline__ uint64_t Describe(int page) const {
    return columns_ + page * (kPageBytes<kHeadDim> / 16);
  }
  // By each warp.
  __device__ __forceinline__ void Release(int page) const {
    if (threadIdx.x % 32 == 0) Barrier(kRingSlots<kHeadDim> + page)->Arrive();
  }

 private:
  __device__ __forceinline__ StageBarrier* Barrier(int i) const {
    return static_cast<StageBarrier*>(
        __cvta_shared_to_generic(barriers_ + i * sizeof(StageBarrier)));
  }

  uint64_t columns_;
  uint32_t barriers_;
  uint32_t parity_;
};

// A page of which the tile sees `visible` tokens: zeros for the values after them, since whatever
// these are, weights of zero would not hide a NaN. By a warp.
template <int kHeadDim>
__device__ __forceinline__ void CopyPart(const char* page, int visible, char* slot,
                                         StageBarrier* full) {
  constexpr int kColumns = kHeadDim / 64;
  const int lane = threadIdx.x % 32, bytes = visible * 128;
  for (int column = 0; column < kColumns; ++column) {
    char* const values = slot + kValuesBytes<kHeadDim> + column * kPageColumnBytes;
    for (int i = bytes + lane * 16; i < kPageColumnBytes; i += 32 * 16) {
      *reinterpret_cast<uint4*>(values + i) = make_uint4(0, 0, 0, 0);
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
  if (lane != 0) return;
  full->ArriveExpecting(kValuesBytes<kHeadDim> + kColumns * bytes);
  CopyBulk(slot, page, kValuesBytes<kHeadDim>, full);
  for (int column = 0; column < kColumns; ++column) {
    const int at = kValuesBytes<kHeadDim> + column * kPageColumnBytes;
    CopyBulk(slot + at, page + at, bytes, full);
  }
}

// Brings the pages of `keys` tokens. By a warp.
template <int kHeadDim>
__device__ __forceinline__ void CopyPages(const PagedAttentionParams& p, const Place& place,
                                          int keys, PageRing<kHeadDim>* ring) {
  constexpr int kSlots = kRingSlots<kHeadDim>;
  const int lane = threadIdx.x % 32, pages = (keys - 1) / kPageTokens + 1;
  int32_t ids = 0;  // of 32 pages
  for (int page = 0; page < pages; ++page) {
    if (page % 32 == 0) ids = place.table[min(page + lane, pages - 1)];
    const char* const from = place.pages + __shfl_sync(~0u, ids, page % 32) * p.kv.page_stride;
    const int slot = page % kSlots, visible = keys - page * kPageTokens;
    ring->empty[slot].Wait(page / kSlots % 2 ^ 1);
    if (visible < kPageTokens) {
      CopyPart<kHeadDim>(from, visible, ring->slots[slot], &ring->full[slot]);
    } else if (lane == 0) {
      ring->full[slot].ArriveExpecting(kPageBytes<kHeadDim>);
      CopyBulk(ring->slots[slot], from, kPageBytes<kHeadDim>, &ring->full[slot]);
    }
    __syncwarp();
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PAGE_RING_CUH_
