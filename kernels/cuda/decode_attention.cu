#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_float.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"

namespace sieve::cuda {
namespace {

// Floats of a partial result: out[head_dim], max, total.
__host__ __device__ constexpr int64_t PartialFloats(int64_t head_dim) { return head_dim + 2; }

// A block of one warp: one split of one tile of one token.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32)
    DecodeKernel(PagedAttentionParams p, float scale_log2, float* partials, int max_splits) {
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
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = threadIdx.x / 4 + 8 * r;
    if (row >= group) continue;
    float* partial =
        partials + ((blockIdx.z * p.num_heads + kv_head * group + row) * max_splits + split) *
                       PartialFloats(kHeadDim);
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      float2* at = reinterpret_cast<float2*>(partial + 8 * n + threadIdx.x % 4 * 2);
      *at = make_float2(sums.out[n][2 * r], sums.out[n][2 * r + 1]);
    }
    if (threadIdx.x % 4 == 0) {
      partial[kHeadDim] = sums.row[r].max;
      partial[kHeadDim + 1] = sums.row[r].total;
    }
  }
}

// A block a (tile, head), a thread an element.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kHeadDim)
    MergeKernel(PagedAttentionParams p, const float* partials, int max_splits) {
  LetNextBegin();
  const AttentionTile tile = p.tiles[blockIdx.y];
  const int head = blockIdx.x, splits = tile.position / kSplitTokens + 1;
  const float* partial =
      partials + (blockIdx.y * p.num_heads + head) * max_splits * PartialFloats(kHeadDim);
  SoftmaxState state;
  float out = 0;
  WaitForPrevious();
#pragma unroll 4
  for (int split = 0; split < splits; ++split, partial += PartialFloats(kHeadDim)) {
    const MergeFactors f = Merge(&state, {partial[kHeadDim], partial[kHeadDim + 1]});
    out = MergeValue(f, out, partial[threadIdx.x]);
  }
  T* to = static_cast<T*>(p.out) + (tile.first_token * p.num_heads + head) * kHeadDim;
  to[threadIdx.x] = FromFloat<T>(out * (1 / state.total));
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
    constexpr int kStages = kDim <= 64 ? kPagesPerSplit : 2;
    constexpr int kBytes = kStages * 2 * kTileElements<kDim> * static_cast<int>(sizeof(T));
    static const cudaError_t allowed = AllowShared(DecodeKernel<T, kDim>, kBytes);
    if (allowed != cudaSuccess) return allowed;
    const dim3 grid(max_splits, params.num_kv_heads, params.num_tiles);
    const cudaError_t error = LaunchDependent(DecodeKernel<T, kDim>, {grid, 32, kBytes}, stream,
                                              params, ScaleLog2(params), partials, max_splits);
    if (error != cudaSuccess) return error;
    const dim3 merge_grid(params.num_heads, params.num_tiles);
    return LaunchDependent(MergeKernel<T, kDim>, {merge_grid, kDim}, stream, params, partials,
                           max_splits);
  });
}

}  // namespace sieve::cuda
