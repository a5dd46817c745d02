#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_float.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/decode_partial.cuh"
#include "kernels/cuda/decode_units.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/hopper_decode.cuh"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {
namespace {

// A block of one warp: one split of one tile of one token.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32)
    DecodeKernel(PagedAttentionParams p, float scale_log2, DecodePartials partials) {
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  constexpr int kStages = kHeadDim <= 64 ? kPagesPerSplit : 2;
  LetNextBegin();
  const AttentionTile tile = p.tiles[blockIdx.z];
  const int kv_head = blockIdx.y, split = blockIdx.x;
  const int first_page = split * kPagesPerSplit;
  const int pages = min(kPagesPerSplit, tile.position / kPageTokens + 1 - first_page);
  if (pages <= 0) return WaitForPrevious();
  const Place place(p, tile, kv_head);
  // Where the pages are is known before the step, what the last of them holds is not.
  const int32_t id = place.table[first_page + min(static_cast<int>(threadIdx.x), pages - 1)];
  WaitForPrevious();
  const auto load = [&](int page) {
    if (page < pages) {
      LoadPage<T, kHeadDim, 32>(place.pages + __shfl_sync(~0u, id, page) * p.kv.page_stride,
                                tile.position + 1 - (first_page + page) * kPageTokens,
                                shared + page % kStages * 2 * kTileElements<kHeadDim>);
    }
    CommitCopies();
  };
  for (int page = 0; page < kStages - 1; ++page) load(page);
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(p, tile, kv_head, 0, &rows, offset);
  WarpSums<kHeadDim> sums;
  Clear(&sums);
  for (int page = 0; page < pages; ++page) {
    load(page + kStages - 1);
    WaitForCopies<kStages - 1>();
    __syncwarp();
    AttendPage<T, kHeadDim>(rows, shared + page % kStages * 2 * kTileElements<kHeadDim>,
                            (first_page + page) * kPageTokens, scale_log2, &sums);
    __syncwarp();
  }
  StorePartial(p, partials, static_cast<int>(blockIdx.z), kv_head, split, sums);
}

// Contexts of few splits leave registers for more blocks.
constexpr int kFewSplits = 8;

// Merges `left` splits of a head from `partial` on, one after the other; a thread has an element.
// kAhead: splits that are read before.
template <int kHeadDim, int kAhead>
__device__ __forceinline__ void MergeSplits(const float* partial, int left, SoftmaxState* state,
                                            float* out) {
  for (; left > 0; left -= kAhead, partial += kAhead * PartialFloats(kHeadDim)) {
    float2 states[kAhead];
    float values[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (i >= left) break;
      const float* const at = partial + i * PartialFloats(kHeadDim);
      states[i] = *reinterpret_cast<const float2*>(at + kHeadDim);
      values[i] = at[threadIdx.x];
    }
    const auto merge = [&](int i) {
      const MergeFactors f = Merge(state, {states[i].x, states[i].y});
      *out = MergeValue(f, *out, values[i]);
    };
    if (left >= kAhead) {  // without branches, so that the factors of many are on their way
#pragma unroll
      for (int i = 0; i < kAhead; ++i) merge(i);
    } else {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (i < left) merge(i);
      }
    }
  }
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void StoreElement(const PagedAttentionParams& p,
                                             const AttentionTile& tile, int head,
                                             const SoftmaxState& state, float out) {
  T* to = static_cast<T*>(p.out) + (tile.first_token * p.num_heads + head) * kHeadDim;
  to[threadIdx.x] = FromFloat<T>(out * (1 / state.total));
}

// A block a (tile, head), a thread an element.
template <typename T, int kHeadDim, int kAhead>
__global__ void __launch_bounds__(kHeadDim)
    MergeKernel(PagedAttentionParams p, DecodePartials partials) {
  LetNextBegin();
  const AttentionTile tile = p.tiles[blockIdx.y];
  const int head = blockIdx.x;
  SoftmaxState state;
  float out = 0;
  WaitForPrevious();
  MergeSplits<kHeadDim, kAhead>(partials.Of<kHeadDim>(p, blockIdx.y, head, 0),
                                tile.position / kSplitTokens + 1, &state, &out);
  StoreElement<T, kHeadDim>(p, tile, head, state, out);
}

// What the blocks of HopperDecodeKernel have left to merge: the heads that are in more than one
// block's share. A block of this one an end of a share (of as many blocks as these and one) and a
// query head of the group.
template <typename T, int kHeadDim, int kAhead>
__global__ void __launch_bounds__(kHeadDim)
    MergeSharedKernel(PagedAttentionParams p, DecodePartials partials) {
  extern __shared__ int first_splits[];
  LetNextBegin();
  CountSplits(p, first_splits);
  __syncthreads();
  const DecodeUnits units(p, first_splits);
  const DecodeShare share =
      units.ShareOf(static_cast<int>(blockIdx.y), static_cast<int>(gridDim.y) + 1);
  const DecodeUnit after = units[share.end];
  WaitForPrevious();
  // The first end inside of a head's splits is whose they are.
  if (after.split == 0 || share.begin > share.end - after.split) return;
  const int head = after.kv_head * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  // The block before has merged all splits up to there.
  const float* const merged = partials.Of<kHeadDim>(p, after.tile_index, head, after.split - 1);
  SoftmaxState state = {merged[kHeadDim], merged[kHeadDim + 1]};
  float out = merged[threadIdx.x];
  MergeSplits<kHeadDim, kAhead>(merged + PartialFloats(kHeadDim), after.splits - after.split,
                                &state, &out);
  StoreElement<T, kHeadDim>(p, after.tile, head, state, out);
}

template <typename T, int kHeadDim>
cudaError_t LaunchPortable(const PagedAttentionParams& params, const DecodePartials& partials,
                           cudaStream_t stream) {
  constexpr int kStages = kHeadDim <= 64 ? kPagesPerSplit : 2;
  constexpr int kBytes = kStages * 2 * kTileElements<kHeadDim> * static_cast<int>(sizeof(T));
  static const cudaError_t allowed = AllowShared(DecodeKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid(partials.max_splits, params.num_kv_heads, params.num_tiles);
  const cudaError_t error = LaunchDependent(DecodeKernel<T, kHeadDim>, {grid, 32, kBytes}, stream,
                                            params, ScaleLog2(params), partials);
  if (error != cudaSuccess) return error;
  const auto merge = partials.max_splits <= kFewSplits ? MergeKernel<T, kHeadDim, kFewSplits>
                                                       : MergeKernel<T, kHeadDim, 32>;
  const dim3 heads(params.num_heads, params.num_tiles);
  return LaunchDependent(merge, {heads, kHeadDim}, stream, params, partials);
}

template <typename T, int kHeadDim>
cudaError_t LaunchHopper(const PagedAttentionParams& params, const DecodePartials& partials,
                         cudaStream_t stream) {
  const Chip& chip = ThisChip();
  static const cudaError_t allowed =
      AllowShared(HopperDecodeKernel<T, kHeadDim>, chip.shared_bytes);
  if (allowed != cudaSuccess) return allowed;
  const auto blocks = static_cast<unsigned>(chip.multiprocessors);
  const auto bytes = static_cast<size_t>(HopperDecodeSharedBytes<kHeadDim>(params.num_tiles));
  const cudaError_t error = LaunchDependent(HopperDecodeKernel<T, kHeadDim>,
                                            {blocks, 32 * HopperDecodeWarps(kHeadDim), bytes},
                                            stream, params, ScaleLog2(params), partials);
  if (error != cudaSuccess) return error;
  const dim3 ends(params.num_heads / params.num_kv_heads, blocks - 1);
  const size_t counts_bytes = (params.num_tiles + 1) * sizeof(int);
  const auto merge = partials.max_splits <= kFewSplits ? MergeSharedKernel<T, kHeadDim, kFewSplits>
                                                       : MergeSharedKernel<T, kHeadDim, 32>;
  return LaunchDependent(merge, {ends, kHeadDim, counts_bytes}, stream, params, partials);
}

template <typename T, int kHeadDim>
cudaError_t Launch(const PagedAttentionParams& params, const DecodePartials& partials,
                   cudaStream_t stream) {
  if constexpr (HopperDecodeSupports(DType::kBF16, kHeadDim)) {
    const Chip& chip = ThisChip();
    if (chip.is_hopper() &&
        HopperDecodeSharedBytes<kHeadDim>(params.num_tiles) <= chip.shared_bytes) {
      return LaunchHopper<T, kHeadDim>(params, partials, stream);
    }
  }
  return LaunchPortable<T, kHeadDim>(params, partials, stream);
}

}  // namespace

int64_t DecodePartialFloats(int64_t num_tiles, int64_t num_heads, int64_t head_dim,
                            int64_t max_splits) {
  return num_tiles * num_heads * max_splits * PartialFloats(head_dim);
}

cudaError_t DecodeAttention(const PagedAttentionParams& params, int64_t max_splits, float* partials,
                            cudaStream_t stream) {
  if (params.num_tiles == 0) return cudaSuccess;
  if (!AttentionSupports(params.kv.head_dim, params.num_heads / params.num_kv_heads)) {
    return cudaErrorInvalidValue;
  }
  if (params.kv.dtype == DType::kF32) return FloatAttention(params, 1, stream);
  return Dispatch(params, [&](auto element, auto head_dim) {
    using T = decltype(element);
    constexpr int kDim = decltype(head_dim)::value;
    return Launch<T, kDim>(params, {partials, static_cast<int>(max_splits)}, stream);
  });
}

}  // namespace sieve::cuda
