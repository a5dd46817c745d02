#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_float.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/decode_partial.cuh"
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

// A block a (tile, head), a thread an element. kAhead: splits that are read before they are merged,
// one after the other.
template <typename T, int kHeadDim, int kAhead>
__global__ void __launch_bounds__(kHeadDim)
    MergeKernel(PagedAttentionParams p, DecodePartials partials) {
  LetNextBegin();
  const AttentionTile tile = p.tiles[blockIdx.y];
  const int head = blockIdx.x, splits = tile.position / kSplitTokens + 1;
  const float* partial = partials.data + (blockIdx.y * p.num_heads + head) * partials.max_splits *
                                             PartialFloats(kHeadDim);
  SoftmaxState state;
  float out = 0;
  WaitForPrevious();
  for (int left = splits; left > 0; left -= kAhead, partial += kAhead * PartialFloats(kHeadDim)) {
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
      const MergeFactors f = Merge(&state, {states[i].x, states[i].y});
      out = MergeValue(f, out, values[i]);
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
  T* to = static_cast<T*>(p.out) + (tile.first_token * p.num_heads + head) * kHeadDim;
  to[threadIdx.x] = FromFloat<T>(out * (1 / state.total));
}

template <typename T, int kHeadDim>
cudaError_t LaunchPortable(const PagedAttentionParams& params, const DecodePartials& partials,
                           cudaStream_t stream) {
  constexpr int kStages = kHeadDim <= 64 ? kPagesPerSplit : 2;
  constexpr int kBytes = kStages * 2 * kTileElements<kHeadDim> * static_cast<int>(sizeof(T));
  static const cudaError_t allowed = AllowShared(DecodeKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid(partials.max_splits, params.num_kv_heads, params.num_tiles);
  return LaunchDependent(DecodeKernel<T, kHeadDim>, {grid, 32, kBytes}, stream, params,
                         ScaleLog2(params), partials);
}

template <typename T, int kHeadDim>
cudaError_t LaunchHopper(const PagedAttentionParams& params, const DecodePartials& partials,
                         cudaStream_t stream) {
  const Chip& chip = ThisChip();
  static const cudaError_t allowed =
      AllowShared(HopperDecodeKernel<T, kHeadDim>, chip.shared_bytes);
  if (allowed != cudaSuccess) return allowed;
  const int64_t bytes = HopperDecodeSharedBytes<kHeadDim>(params.num_tiles);
  const auto grid = static_cast<unsigned>(chip.multiprocessors);
  return LaunchDependent(HopperDecodeKernel<T, kHeadDim>,
                         {grid, 32 * HopperDecodeWarps(kHeadDim), static_cast<size_t>(bytes)},
                         stream, params, ScaleLog2(params), partials);
}

template <typename T, int kHeadDim>
cudaError_t LaunchSplits(const PagedAttentionParams& params, const DecodePartials& partials,
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

template <typename T, int kHeadDim>
cudaError_t LaunchMerge(const PagedAttentionParams& params, const DecodePartials& partials,
                        cudaStream_t stream) {
  // Few splits leave registers for more blocks.
  const auto kernel =
      partials.max_splits <= 8 ? MergeKernel<T, kHeadDim, 8> : MergeKernel<T, kHeadDim, 32>;
  const dim3 grid(params.num_heads, params.num_tiles);
  return LaunchDependent(kernel, {grid, kHeadDim}, stream, params, partials);
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
    const DecodePartials all = {partials, static_cast<int>(max_splits)};
    if (cudaError_t error = LaunchSplits<T, kDim>(params, all, stream); error != cudaSuccess) {
      return error;
    }
    return LaunchMerge<T, kDim>(params, all, stream);
  });
}

}  // namespace sieve::cuda
