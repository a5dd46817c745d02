#ifndef SIEVE_KERNELS_CUDA_HOPPER_PREFILL_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_PREFILL_CUH_

// Prefill attention on Hopper (sm_90a), for pages that are swizzled. A block computes a tile of
// queries: one warp copies the pages of keys and values into a ring of slots, and two or three
// warpgroups of 64 rows each follow it. In a warpgroup the tensor cores compute the scores of the
// next page and the sums of this one while the other units turn scores into weights.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/attention_wgmma.cuh"
#include "kernels/cuda/stage_barrier.cuh"

namespace sieve::cuda {

constexpr bool HopperPrefillSupports(DType dtype, int64_t head_dim) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) && (head_dim == 64 || head_dim == 128);
}

// As many warpgroups as their registers allow.
constexpr int HopperPrefillWarpgroups(int64_t head_dim) { return head_dim == 64 ? 3 : 2; }
constexpr int HopperPrefillRows(int64_t head_dim) { return 64 * HopperPrefillWarpgroups(head_dim); }

template <int kHeadDim>
struct HopperPrefillShape {
  static constexpr int kWarpgroups = HopperPrefillWarpgroups(kHeadDim);
  static constexpr int kThreads =
      128 * (kWarpgroups + 1);  // the last warpgroup's first warp copies
  static constexpr int kConsumerRegisters = kWarpgroups == 3 ? 160 : 240;
  static constexpr int kValuesAt = kHeadDim / 64 * kPageColumnBytes;
  static constexpr int kPageBytes = 2 * kValuesAt;
  static constexpr int kSlots = 8 * 16384 / kPageBytes;  // a power of 2
  // A warpgroup may leave when its rows see no later page, without letting go of those: none of
  // them may be waited for.
  static_assert(kSlots >= kWarpgroups);
};

template <int kHeadDim>
struct HopperPrefillShared {
  char slots[HopperPrefillShape<kHeadDim>::kSlots][HopperPrefillShape<kHeadDim>::kPageBytes];
  StageBarrier full[HopperPrefillShape<kHeadDim>::kSlots];
  StageBarrier empty[HopperPrefillShape<kHeadDim>::kSlots];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <int kRegisters>
__device__ __forceinline__ void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Page i of the tile is in slot i % kSlots. Each warpgroup uses all slots in order, and so is never
// more than a ring ahead of a barrier.
template <int kHeadDim>
struct PageRing {
  using Shape = HopperPrefillShape<kHeadDim>;
  HopperPrefillShared<kHeadDim>* shared;

  __device__ __forceinline__ void Init(int consumer_warps) const {
    for (int i = 0; i < Shape::kSlots; ++i) {
      shared->full[i].Init(1);
      shared->empty[i].Init(consumer_warps);
    }
    // The copy engine must see the barriers as they are now.
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::
                     : "memory");
  }
  __device__ __forceinline__ char* slot(int page) const {
    return shared->slots[page % Shape::kSlots];
  }
  __device__ __forceinline__ StageBarrier* full(int page) const {
    return &shared->full[page % Shape::kSlots];
  }
  __device__ __forceinline__ void AwaitFree(int page) const {
    shared->empty[page % Shape::kSlots].Wait(page / Shape::kSlots % 2 ^ 1);
  }
  // Returns what describes the page.
  __device__ __forceinline__ uint32_t Await(int page) const {
    full(page)->Wait(page / Shape::kSlots % 2);
    return DescribePageColumn(shared->slots) + page % Shape::kSlots * (Shape::kPageBytes / 16);
  }
  // By each warp.
  __device__ __forceinline__ void Release(int page) const {
    if (threadIdx.x % 32 == 0) shared->empty[page % Shape::kSlots].Arrive();
  }
};

// The tile's last page: zeros for the values after the last token, since whatever they are, weights
// of zero would not hide a NaN.
template <int kHeadDim>
__device__ __forceinline__ void CopyLastPage(const char* page, int visible, char* slot,
                                             StageBarrier* full) {
  constexpr int kValuesAt = HopperPrefillShape<kHeadDim>::kValuesAt;
  constexpr int kColumns = kHeadDim / 64;
  const int lane = threadIdx.x % 32, bytes = visible * 128;
  for (int column = 0; column < kColumns; ++column) {
    char* const values = slot + kValuesAt + column * kPageColumnBytes;
    for (int i = bytes + lane * 16; i < kPageColumnBytes; i += 32 * 16) {
      *reinterpret_cast<uint4*>(values + i) = make_uint4(0, 0, 0, 0);
    }
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
  if (lane != 0) return;
  full->ArriveExpecting(kValuesAt + kColumns * bytes);
  CopyBulk(slot, page, kValuesAt, full);
  for (int column = 0; column < kColumns; ++column) {
    const int at = kValuesAt + column * kPageColumnBytes;
    CopyBulk(slot + at, page + at, bytes, full);
  }
}

// One warp copies the pages of `keys` tokens.
template <int kHeadDim>
__device__ __forceinline__ void CopyPages(const PagedAttentionParams& p, const Place& place,
                                          int keys, const PageRing<kHeadDim>& ring) {
  constexpr int kPageBytes = HopperPrefillShape<kHeadDim>::kPageBytes;
  const int lane = threadIdx.x % 32, pages = (keys - 1) / kPageTokens + 1;
  int32_t ids = 0;  // of 32 pages
  for (int page = 0; page < pages; ++page) {
    if (page % 32 == 0) ids = place.table[min(page + lane, pages - 1)];
    const char* const from = place.pages + __shfl_sync(~0u, ids, page % 32) * p.kv.page_stride;
    ring.AwaitFree(page);
    StageBarrier* const full = ring.full(page);
    if (const int visible = keys - page * kPageTokens; visible < kPageTokens) {
      CopyLastPage<kHeadDim>(from, visible, ring.slot(page), full);
    } else if (lane == 0) {
      full->ArriveExpecting(kPageBytes);
      CopyBulk(ring.slot(page), from, kPageBytes, full);
    }
    __syncwarp();
  }
}

// A warp's part in its warpgroup's 64 rows.
template <typename T, int kHeadDim>
class RowsOfWarp {
 public:
  __device__ __forceinline__ RowsOfWarp(const PagedAttentionParams& p, const AttentionTile& tile,
                                        int kv_head, float scale_log2,
                                        const PageRing<kHeadDim>& ring)
      : ring_(ring), scale_log2_(scale_log2) {
    SetUpRows<T, kHeadDim>(p, tile, kv_head, threadIdx.x / 32 * 16, &rows_, offset_);
    Clear(&total_);
    Clear(&split_);
  }

  // Over keys 0 .. 64 pages - 1.
  __device__ __forceinline__ void Attend(int pages) {
    float scores[8][4];
    uint32_t at = ring_.Await(0), next = pages > 1 ? ring_.Await(1) : 0;
    WgmmaFence();
    BeginScores<T, kHeadDim>(rows_, at, scores);
    WgmmaWait<0>();
    Pin(scores);
    PageSums sums = Weigh(0, scores);
    Pack(scores);
    for (int page = 0; page < pages - 1; ++page) {
      const bool ends_split = page % kPagesPerSplit == kPagesPerSplit - 1;
      WgmmaFence();
      BeginScores<T, kHeadDim>(rows_, next, scores);
      BeginValues<T, kHeadDim>(weights_, at, page % kPagesPerSplit != 0, &split_);
      AddTotals(sums, split_.row);
      const SoftmaxState summed[2] = {split_.row[0], split_.row[1]};
      if (ends_split) split_.row[0] = split_.row[1] = SoftmaxState();
      WgmmaWait<1>();
      Pin(scores);
      sums = Weigh(page + 1, scores);
      Pin(scores);
      at = next;
      if (page + 2 < pages) next = ring_.Await(page + 2);
      WgmmaWait<0>();
      Pin(split_.out);
      ring_.Release(page);
      Pack(scores);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (ends_split) {
          MergeRow(r, summed[r], split_, &total_);
        } else {
          ScaleRow(r, sums.factor[r], &split_);
        }
      }
    }
    WgmmaFence();
    BeginValues<T, kHeadDim>(weights_, at, (pages - 1) % kPagesPerSplit != 0, &split_);
    AddTotals(sums, split_.row);
    WgmmaWait<0>();
    Pin(split_.out);
#pragma unroll
    for (int r = 0; r < 2; ++r) MergeRow(r, split_.row[r], split_, &total_);
  }

  __device__ __forceinline__ void Store(void* out) const {
    StoreRows(total_, offset_, static_cast<T*>(out));
  }

 private:
  __device__ __forceinline__ PageSums Weigh(int page, float (&scores)[8][4]) {
    MaskScores(rows_.position, page * kPageTokens, scores);
    return WeighScores(scores, scale_log2_, split_.row);
  }
  __device__ __forceinline__ void Pack(const float (&scores)[8][4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) PackWeights<T>(scores, k, weights_[k]);
  }

  const PageRing<kHeadDim> ring_;
  const float scale_log2_;
  WarpRows<T, kHeadDim> rows_;
  int64_t offset_[2];
  uint32_t weights_[4][4];
  WarpSums<kHeadDim> split_, total_;
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(HopperPrefillShape<kHeadDim>::kThreads, 1)
    HopperPrefillKernel(const __grid_constant__ PagedAttentionParams p, float scale_log2) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = HopperPrefillShape<kHeadDim>;
  extern __shared__ __align__(1024) char shared_bytes[];
  const PageRing<kHeadDim> ring = {reinterpret_cast<HopperPrefillShared<kHeadDim>*>(shared_bytes)};
  // Long tiles first: the last ones to run are short.
  const AttentionTile tile = p.tiles[gridDim.x - 1 - blockIdx.x];
  const int kv_head = blockIdx.y;
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  const int rows = tile.num_tokens * group;
  const int warpgroup = threadIdx.x / 128;
  if (threadIdx.x == 0) ring.Init((rows + 63) / 64 * 4);
  __syncthreads();
  if (warpgroup == Shape::kWarpgroups) {
    LowerRegisters<24>();
    if (threadIdx.x / 32 % 4 == 0) {
      CopyPages(p, Place(p, tile, kv_head), tile.position + tile.num_tokens, ring);
    }
    return;
  }
  RaiseRegisters<Shape::kConsumerRegisters>();
  if (warpgroup * 64 >= rows) return;
  const int last_token = min(warpgroup * 64 + 63, rows - 1) / group;
  const int pages = __shfl_sync(~0u, (tile.position + last_token) / kPageTokens + 1, 0);
  RowsOfWarp<T, kHeadDim> mine(p, tile, kv_head, scale_log2, ring);
  mine.Attend(pages);
  mine.Store(p.out);
#endif
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_PREFILL_CUH_
