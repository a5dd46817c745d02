#ifndef SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_

// Decode attention on Hopper (sm_90), for pages that are swizzled. Some warps stay on each
// multiprocessor and go through lists of splits. Each has slots of its own in shared memory, and
// asks the copy engine for the next page as soon as it has read one, across the ends of its splits:
// memory is never waiting for a warp to begin.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/decode_partial.cuh"
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
  StageBarrier full[kWarps][kSlots];
  int first_splits[2];  // [num_tiles + 1]: how many splits all tiles before have
};

template <int kHeadDim>
constexpr int64_t HopperDecodeSharedBytes(int64_t num_tiles) {
  return static_cast<int64_t>(sizeof(HopperDecodeShared<kHeadDim>)) + (num_tiles - 1) * 4;
}

#if __CUDA_ARCH__ >= 900

// By all threads of the block; a barrier is to follow.
__device__ __forceinline__ void CountSplits(const PagedAttentionParams& p, int* first_splits) {
  const int tiles = static_cast<int>(p.num_tiles), lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < tiles; i += blockDim.x) {
    first_splits[i + 1] = p.tiles[i].position / kSplitTokens + 1;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  int before = 0;
  for (int first = 0; first < tiles; first += 32) {
    int sum = first + lane < tiles ? first_splits[first + lane + 1] : 0;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const int other = __shfl_up_sync(~0u, sum, lanes);
      if (lane >= lanes) sum += other;
    }
    if (first + lane < tiles) first_splits[first + lane + 1] = before + sum;
    before += __shfl_sync(~0u, sum, 31);
  }
  if (lane == 0) first_splits[0] = 0;
}

// A split of a tile and a key/value head.
struct DecodeUnit {
  AttentionTile tile;
  int tile_index = 0;
  int kv_head = 0;
  int split = 0;
  int pages = 0;
};

// Units in the order of tiles, splits, heads: neighbours are so in memory, too.
class DecodeUnits {
 public:
  __device__ __forceinline__ DecodeUnits(const PagedAttentionParams& p, const int* first_splits)
      : p_(p), first_splits_(first_splits) {}

  __device__ __forceinline__ int count() const {
    return first_splits_[p_.num_tiles] * static_cast<int>(p_.num_kv_heads);
  }
  __device__ __forceinline__ DecodeUnit operator[](int index) const {
    const int heads = static_cast<int>(p_.num_kv_heads), split = index / heads;
    int low = 0, high = static_cast<int>(p_.num_tiles);  // the tile is in low .. high - 1
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_splits_[middle] <= split ? low : high) = middle;
    }
    DecodeUnit unit;
    unit.tile = p_.tiles[low];
    unit.tile_index = low;
    unit.kv_head = index % heads;
    unit.split = split - first_splits_[low];
    unit.pages =
        min(kPagesPerSplit, unit.tile.position / kPageTokens + 1 - unit.split * kPagesPerSplit);
    return unit;
  }

 private:
  const PagedAttentionParams& p_;
  const int* const first_splits_;
};

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

  // One more page, if there is one, to the slot after the last. All lanes have let it go.
  __device__ __forceinline__ void CopyNext() {
    if (page_ == pages_) {
      from_ = from_ahead_;
      pages_ = pages_ahead_;
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
  const char* from_ahead_ = nullptr;  // of the unit after it
  int pages_ahead_ = 0;
};

// All units of a warp.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendUnits(const PagedAttentionParams& p, const DecodeUnits& units,
                                            const UnitRange& range, float scale_log2,
                                            const DecodePartials& partials,
                                            HopperDecodeShared<kHeadDim>* shared) {
  using Shared = HopperDecodeShared<kHeadDim>;
  const int warp = threadIdx.x / 32;
  PageCopier<kHeadDim> copier(p, units, range, shared);
  for (int i = 0; i < Shared::kSlots; ++i) copier.CopyNext();
  int slot = 0;
  uint32_t parity = 0;
  for (int i = range.first; i < range.end; i += range.step) {
    const DecodeUnit unit = units[i];
    WarpRows<T, kHeadDim> rows;
    int64_t offset[2];
    SetUpRows<T, kHeadDim>(p, unit.tile, unit.kv_head, 0, &rows, offset);
    WarpSums<kHeadDim> sums;
    Clear(&sums);
    for (int page = 0; page < unit.pages; ++page) {
      T* const keys = reinterpret_cast<T*>(shared->slots[warp][slot]);
      const int first_key = (unit.split * kPagesPerSplit + page) * kPageTokens;
      shared->full[warp][slot].Wait(parity);
      if (unit.tile.position + 1 - first_key < kPageTokens) {
        ClearRowsFrom<T, kHeadDim>(keys + kTileElements<kHeadDim>,
                                   unit.tile.position + 1 - first_key);
        // What was stored here comes before what the copy engine writes next.
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncwarp();
      }
      AttendPage<T, kHeadDim>(rows, keys, first_key, scale_log2, &sums);
      __syncwarp();
      copier.CopyNext();
      if (++slot == Shared::kSlots) {
        slot = 0;
        parity ^= 1;
      }
    }
    StorePartial(p, partials, unit.tile_index, unit.kv_head, unit.split, sums);
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
    PublishBarriers();
  }
  CountSplits(p, shared->first_splits);
  __syncthreads();
  const DecodeUnits units(p, shared->first_splits);
  const int64_t count = units.count();
  const int begin = static_cast<int>(count * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(count * (blockIdx.x + 1) / gridDim.x);
  WaitForPrevious();  // what came before is known before the step
  AttendUnits<T, kHeadDim>(p, units,
                           {begin + static_cast<int>(threadIdx.x) / 32, end, Shared::kWarps},
                           scale_log2, partials, shared);
#endif
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_DECODE_CUH_
