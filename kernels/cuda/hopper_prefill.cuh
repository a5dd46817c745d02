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
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/page_ring.cuh"
#include "kernels/cuda/wgmma.cuh"
#include "kernels/dtype.h"

namespace sieve::cuda {

constexpr bool HopperPrefillSupports(DType dtype, int64_t head_dim) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) && (head_dim == 64 || head_dim == 128);
}

// As many warpgroups as their registers allow.
constexpr int HopperPrefillWarpgroups(int64_t head_dim) { return head_dim == 64 ? 3 : 2; }
constexpr int HopperPrefillRows(int64_t head_dim) { return 64 * HopperPrefillWarpgroups(head_dim); }
// The last warpgroup's first warp copies.
constexpr int HopperPrefillThreads(int64_t head_dim) {
  return 128 * (HopperPrefillWarpgroups(head_dim) + 1);
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A warp's part in its warpgroup's 64 rows.
template <typename T, int kHeadDim>
class RowsOfWarp {
 public:
  // What all lanes have in common comes from lane 0, so that the compiler knows it, too.
  __device__ __forceinline__ RowsOfWarp(const PagedAttentionParams& p, const AttentionTile& tile,
                                        int kv_head, float scale_log2, PageRing<kHeadDim>* ring)
      : scale_log2_(scale_log2),
        columns_(SwizzledMatrix(__shfl_sync(~0u, SharedAddress(ring->slots), 0))),
        barriers_(__shfl_sync(~0u, SharedAddress(ring->full), 0)) {
    SetUpRows<T, kHeadDim>(p, tile, kv_head, threadIdx.x / 32 * 16, &rows_, offset_);
    unmasked_ = __shfl_sync(~0u, (rows_.position[0] + 1) / kPageTokens, 0);
    Clear(&total_);
    Clear(&split_);
  }

  // Over keys 0 .. 64 pages - 1; `pages` is the same in all lanes.
  __device__ __forceinline__ void Attend(int pages) {
    pages = __shfl_sync(~0u, pages, 0);
    float scores[8][4];
    Split here = SplitFrom(0);
    here.Await(0);
    WgmmaFence();
    BeginScores<T, kHeadDim>(rows_, here.Describe(0), scores);
    WgmmaWait<0>();
    Pin(scores);
    PageSums sums = Weigh(0, scores);
    Pack(scores);
    if (pages > 1) here.Await(1);
    for (int first = 0; first < pages - 1; first += kPagesPerSplit) {
      const Split after = SplitFrom(first + kPagesPerSplit);
#pragma unroll
      for (int page = 0; page < kPagesPerSplit; ++page) {
        if (first + page >= pages - 1) break;
        Step(here, after, first, page, pages, scores, &sums);
      }
      here = after;
    }
    const int last = pages - 1;
    here = SplitFrom(last / kPagesPerSplit * kPagesPerSplit);
    WgmmaFence();
    BeginValues<T, kHeadDim>(weights_, here.Describe(last % kPagesPerSplit),
                             last % kPagesPerSplit != 0, &split_);
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
  using Split = SplitInRing<kHeadDim>;

  __device__ __forceinline__ Split SplitFrom(int first) const {
    return Split(columns_, barriers_, first);
  }

  // Adds the values of `page` of the split that begins with the tile's page `first`, and turns the
  // scores of the page after it into weights.
  __device__ __forceinline__ void Step(const Split& here, const Split& after, int first, int page,
                                       int pages, float (&scores)[8][4], PageSums* sums) {
    constexpr int kLast = kPagesPerSplit - 1;
    WgmmaFence();
    BeginScores<T, kHeadDim>(rows_, page < kLast ? here.Describe(page + 1) : after.Describe(0),
                             scores);
    BeginValues<T, kHeadDim>(weights_, here.Describe(page), page > 0, &split_);
    AddTotals(*sums, split_.row);
    const SoftmaxState summed[2] = {split_.row[0], split_.row[1]};
    if (page == kLast) split_.row[0] = split_.row[1] = SoftmaxState();
    WgmmaWait<1>();
    Pin(scores);
    *sums = Weigh(first + page + 1, scores);
    Pin(scores);
    // (This branch also keeps ptxas from waiting for the sums before the weights are computed.)
    if (first + page + 2 < pages) {
      if (page < kLast - 1) {
        here.Await(page + 2);
      } else {
        after.Await(page - kLast + 1);
      }
    }
    WgmmaWait<0>();
    Pin(split_.out);
    here.Release(page);
    Pack(scores);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (page == kLast) {
        MergeRow(r, summed[r], split_, &total_);
      } else {
        ScaleRow(r, sums->factor[r], &split_);
      }
    }
  }

  __device__ __forceinline__ PageSums Weigh(int page, float (&scores)[8][4]) {
    if (page >= unmasked_) MaskScores(rows_.position, page * kPageTokens, scores);
    return WeighScores(scores, scale_log2_, split_.row);
  }
  __device__ __forceinline__ void Pack(const float (&scores)[8][4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) PackWeights<T>(scores, k, weights_[k]);
  }

  const float scale_log2_;
  const uint64_t columns_;   // of the ring
  const uint32_t barriers_;  // its
  int unmasked_;             // pages that all of the warp's rows see wholly
  WarpRows<T, kHeadDim> rows_;
  int64_t offset_[2];
  uint32_t weights_[4][4];
  WarpSums<kHeadDim> split_, total_;
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

// A block a (tile, key/value head).
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(HopperPrefillThreads(kHeadDim), 1)
    HopperPrefillKernel(const __grid_constant__ PagedAttentionParams p, float scale_log2) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  // A warpgroup leaves when its rows see no later page, without letting go of those: none of them
  // may be waited for.
  static_assert(kRingSlots<kHeadDim> >= HopperPrefillWarpgroups(kHeadDim));
  extern __shared__ __align__(1024) char shared_bytes[];
  auto* const ring = reinterpret_cast<PageRing<kHeadDim>*>(shared_bytes);
  LetNextBegin();
  // Long tiles first, of all heads: the last ones to run are short.
  const int kv_heads = static_cast<int>(p.num_kv_heads), kv_head = blockIdx.x % kv_heads;
  const AttentionTile tile = p.tiles[p.num_tiles - 1 - blockIdx.x / kv_heads];
  const int group = static_cast<int>(p.num_heads) / kv_heads, rows = tile.num_tokens * group;
  const int warpgroup = threadIdx.x / 128;
  if (threadIdx.x == 0) ring->Init((rows + 63) / 64 * 4);
  __syncthreads();
  WaitForPrevious();
  if (warpgroup == HopperPrefillWarpgroups(kHeadDim)) {
    LowerRegisters<24>();
    if (threadIdx.x / 32 % 4 == 0) {
      CopyPages(p, Place(p, tile, kv_head), tile.position + tile.num_tokens, ring);
    }
    return;
  }
  RaiseRegisters<HopperPrefillWarpgroups(kHeadDim) == 3 ? 160 : 240>();
  if (warpgroup * 64 >= rows) return;
  const int last_token = min(warpgroup * 64 + 63, rows - 1) / group;
  RowsOfWarp<T, kHeadDim> mine(p, tile, kv_head, scale_log2, ring);
  mine.Attend((tile.position + last_token) / kPageTokens + 1);
  mine.Store(p.out);
#endif
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_PREFILL_CUH_
