#ifndef SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_

// Decode attention on Hopper (sm_90), for pages that are swizzled. Some warps stay on each
// multiprocessor and go through lists of splits. Each has slots of its own in shared memory, and
// asks the copy engine for the next page as soon as it has read one, across the ends of its splits:
// memory is never waiting for a warp to begin. A block's splits follow each other in the order in
// which they are merged, so that its warps, in turn, merge them in shared memory; only of the heads
// at the ends of its list anything is left to merge.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/decode_partial.cuh"
#include "kernels/cuda/decode_units.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/stage_barrier.cuh"
#include "kernels/dtype.h"

namespace sieve::cuda {

constexpr bool HopperDecodeSupports(DType dtype, int64_t head_dim) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) && (head_dim == 64 || head_dim == 128);
}

// Warps of a block, and the slots of each, a page of keys and values a slot: as much as shared
// memory holds, so that most of it is on its way while the warps compute.
constexpr int HopperDecodeWarps(int head_dim) { return head_dim == 64 ? 4 : 3; }
constexpr int HopperDecodeSlots(int head_dim) { return head_dim == 64 ? 3 : 2; }

template <int kHeadDim>
struct HopperDecodeShared {
  static constexpr int kWarps = HopperDecodeWarps(kHeadDim);
  static constexpr int kSlots = HopperDecodeSlots(kHeadDim);
  static constexpr int kSlotBytes = 2 * kPageTokens * kHeadDim * 2;

  char slots[kWarps][kSlots][kSlotBytes];  // at a multiple of 128 bytes
  float2 out[kHeadDim / 8][2][32];  // what a block has merged of a head: as WarpSums, by lane
  SoftmaxState row[2][32];
  StageBarrier full[kWarps][kSlots];
  StageBarrier turn[kWarps];  // to merge; each lane of the warp before arrives
  int first_splits[2];        // [num_tiles + 1]: how many splits all tiles before have
};

template <int kHeadDim>
constexpr int64_t HopperDecodeSharedBytes(int64_t num_tiles) {
  return static_cast<int64_t>(sizeof(HopperDecodeShared<kHeadDim>)) + (num_tiles - 1) * 4;
}

#if __CUDA_ARCH__ >= 900

// A warp's units: first, first + step, ... before end.
struct UnitRange {
  int first, end, step;
};

// Copies the pages of a warp's units, one after the other.
template <int kHeadDim>
class PageCopier {
 public:
  using Shared = HopperDecodeShared<kHeadDim>;

  __device__ __forceinline__ PageCopier(const PagedAttentionParams& p, const DecodeUnits& units,
                                        const UnitRange& range, Shared* shared)
      : p_(p),
        units_(units),
        range_(range),
        slots_(shared->slots[threadIdx.x / 32]),
        full_(shared->full[threadIdx.x / 32]) {
    LookUp();
  }

  // Whether the next page holds the token of this step.
  __device__ __forceinline__ bool NextIsNewest() const {
    return page_ < pages_ ? has_newest_ && page_ == pages_ - 1 : newest_ahead_ && pages_ahead_ == 1;
  }

  // One more page, if there is one, to the slot after the last. All lanes have let it go.
  __device__ __forceinline__ void CopyNext() {
    if (page_ == pages_) {
      from_ = from_ahead_;
      pages_ = pages_ahead_;
      has_newest_ = newest_ahead_;
      page_ = 0;
      LookUp();
    }
    if (pages_ == 0) return;
    const uint64_t from = __shfl_sync(~0u, reinterpret_cast<uint64_t>(from_), page_++);
    if (threadIdx.x % 32 == 0) {
      full_[slot_].ArriveExpecting(Shared::kSlotBytes);
      CopyBulkOnce(slots_[slot_], reinterpret_cast<const char*>(from), Shared::kSlotBytes,
                   &full_[slot_]);
    }
    slot_ = slot_ + 1 == Shared::kSlots ? 0 : slot_ + 1;
  }

 private:
  // Where the next unit's pages are: known before the first of them is to be copied.
  __device__ __forceinline__ void LookUp() {
    pages_ahead_ = 0;
    if (range_.first >= range_.end) return;
    const DecodeUnit unit = units_[range_.first];
    range_.first += range_.step;
    pages_ahead_ = unit.pages;
    newest_ahead_ = unit.split == unit.splits - 1;
    const int page = min(static_cast<int>(threadIdx.x) % 32, unit.pages - 1);
    from_ahead_ = Place(p_, unit.tile, unit.kv_head).page(p_, unit.split * kPagesPerSplit + page);
  }

  const PagedAttentionParams& p_;
  const DecodeUnits& units_;
  UnitRange range_;  // not looked up yet
  char (*const slots_)[Shared::kSlotBytes];
  StageBarrier* const full_;
  int slot_ = 0;
  const char* from_ = nullptr;  // lane i: page i of the unit
  int page_ = 0, pages_ = 0;
  bool has_newest_ = false;
  const char* from_ahead_ = nullptr;  // of the unit after it
  int pages_ahead_ = 0;
  bool newest_ahead_ = false;
};

// A lane's part of what the block has merged of a head. Rows from `group` on are nobody's.
template <int kHeadDim>
__device__ __forceinline__ void LoadMerged(const HopperDecodeShared<kHeadDim>& shared, int group,
                                           WarpSums<kHeadDim>* sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (8 * r >= group) break;
    sums->row[r] = shared.row[r][lane];
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      const float2 out = shared.out[n][r][lane];
      sums->out[n][2 * r] = out.x;
      sums->out[n][2 * r + 1] = out.y;
    }
  }
}

template <int kHeadDim>
__device__ __forceinline__ void StoreMerged(const WarpSums<kHeadDim>& sums, int group,
                                            HopperDecodeShared<kHeadDim>* shared) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (8 * r >= group) break;
    shared->row[r][lane] = sums.row[r];
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      shared->out[n][r][lane] = make_float2(sums.out[n][2 * r], sums.out[n][2 * r + 1]);
    }
  }
}

// What a warp does with a split when it has its turn. `offset`: of its rows, as for LoadQueries.
template <typename T, int kHeadDim>
__device__ __forceinline__ void MergeUnit(const PagedAttentionParams& p, const DecodeUnit& unit,
                                          const DecodeShare& share, const int64_t (&offset)[2],
                                          const DecodePartials& partials,
                                          const WarpSums<kHeadDim>& sums,
                                          HopperDecodeShared<kHeadDim>* shared) {
  const auto store = [&](const WarpSums<kHeadDim>& what) {
    StorePartial(p, partials, unit.tile_index, unit.kv_head, unit.split, what);
  };
  if (unit.index - unit.split < share.begin) return store(sums);  // another block has the first
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  WarpSums<kHeadDim> merged;
  Clear(&merged);
  if (unit.split > 0) LoadMerged(*shared, group, &merged);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (8 * r < group) MergeRow(r, sums.row[r], sums, &merged);
  }
  if (unit.split == unit.splits - 1) {
    StoreRows(merged, offset, static_cast<T*>(p.out));
  } else if (unit.index == share.end - 1) {
    store(merged);
  } else {
    StoreMerged(merged, group, shared);
  }
}

// A split: the sums of its keys, page by page. `slot` and `parity` go on with the warp's pages.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendUnit(const DecodeUnit& unit,
                                           const WarpRows<T, kHeadDim>& rows, float scale_log2,
                                           HopperDecodeShared<kHeadDim>* shared,
                                           PageCopier<kHeadDim>* copier, int* slot,
                                           uint32_t* parity, WarpSums<kHeadDim>* sums) {
  const int warp = threadIdx.x / 32;
  Clear(sums);
  for (int page = 0; page < unit.pages; ++page) {
    T* const keys = reinterpret_cast<T*>(shared->slots[warp][*slot]);
    const int first_key = (unit.split * kPagesPerSplit + page) * kPageTokens;
    shared->full[warp][*slot].Wait(*parity);
    if (unit.tile.position + 1 - first_key < kPageTokens) {
      ClearRowsFrom<T, kHeadDim>(keys + kTileElements<kHeadDim>,
                                 unit.tile.position + 1 - first_key);
      // What was stored here comes before what the copy engine writes next.
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncwarp();
    }
    AttendPage<T, kHeadDim>(rows, keys, first_key, scale_log2, sums);
    __syncwarp();
    copier->CopyNext();
    if (++*slot == HopperDecodeShared<kHeadDim>::kSlots) {
      *slot = 0;
      *parity ^= 1;
    }
  }
}

// All units of a warp.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendUnits(const PagedAttentionParams& p, const DecodeUnits& units,
                                            const DecodeShare& share, float scale_log2,
                                            const DecodePartials& partials,
                                            HopperDecodeShared<kHeadDim>* shared) {
  using Shared = HopperDecodeShared<kHeadDim>;
  const int warp = threadIdx.x / 32;
  const UnitRange range = {share.begin + warp, share.end, Shared::kWarps};
  PageCopier<kHeadDim> copier(p, units, range, shared);
  // Pages of earlier steps need not wait for the kernel before.
  int copies = 0;
  for (; p.may_read_ahead && copies < Shared::kSlots && !copier.NextIsNewest(); ++copies) {
    copier.CopyNext();
  }
  WaitForPrevious();
  for (; copies < Shared::kSlots; ++copies) copier.CopyNext();
  int slot = 0;
  uint32_t parity = 0, turn = 0;
  for (int i = range.first; i < range.end; i += range.step) {
    const DecodeUnit unit = units[i];
    WarpRows<T, kHeadDim> rows;
    int64_t offset[2];
    SetUpRows<T, kHeadDim>(p, unit.tile, unit.kv_head, 0, &rows, offset);
    WarpSums<kHeadDim> sums;
    AttendUnit<T, kHeadDim>(unit, rows, scale_log2, shared, &copier, &slot, &parity, &sums);
    if (i > share.begin) {
      shared->turn[warp].Wait(turn);
      turn ^= 1;
    }
    MergeUnit<T, kHeadDim>(p, unit, share, offset, partials, sums, shared);
    shared->turn[(warp + 1) % Shared::kWarps].Arrive();
  }
}

#endif  // __CUDA_ARCH__ >= 900

// A block a multiprocessor.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32 * HopperDecodeWarps(kHeadDim), 1)
    HopperDecodeKernel(PagedAttentionParams p, float scale_log2, DecodePartials partials) {
#if __CUDA_ARCH__ >= 900
  using Shared = HopperDecodeShared<kHeadDim>;
  extern __shared__ __align__(128) char shared_bytes[];
  Shared* const shared = reinterpret_cast<Shared*>(shared_bytes);
  LetNextBegin();
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shared::kWarps * Shared::kSlots; ++i) {
      shared->full[i / Shared::kSlots][i % Shared::kSlots].Init(1);
    }
    for (StageBarrier& turn : shared->turn) turn.Init(32);
    PublishBarriers();
  }
  CountSplits(p, shared->first_splits);
  __syncthreads();
  const DecodeUnits units(p, shared->first_splits);
  AttendUnits<T, kHeadDim>(p, units,
                           units.ShareOf(static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)),
                           scale_log2, partials, shared);
#endif
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_
