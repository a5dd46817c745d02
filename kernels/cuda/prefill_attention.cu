#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_float.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/hopper_prefill.cuh"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {
namespace {

constexpr int kPrefillWarps = 4;
constexpr int kPrefillRows = 16 * kPrefillWarps;

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kPrefillWarps * 32)
    PrefillKernel(PagedAttentionParams p, float scale_log2) {
  constexpr int kThreads = kPrefillWarps * 32;
  constexpr int kStages = 2;
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  // Long tiles first: the last ones to run are short.
  const AttentionTile tile = p.tiles[gridDim.x - 1 - blockIdx.x];
  const int kv_head = blockIdx.y;
  const Place place(p, tile, kv_head);
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(p, tile, kv_head, threadIdx.x / 32 * 16, &rows, offset);

  const int keys = tile.position + tile.num_tokens;
  const int pages = (keys - 1) / kPageTokens + 1;
  const auto load = [&](int page) {
    if (page < pages) {
      LoadPage<T, kHeadDim, kThreads>(place.page(p, page), keys - page * kPageTokens,
                                      shared + page % kStages * 2 * kTileElements<kHeadDim>);
    }
    CommitCopies();
  };
  WarpSums<kHeadDim> total, split;
  Clear(&total);
  Clear(&split);
  load(0);
  for (int page = 0; page < pages; ++page) {
    load(page + 1);
    WaitForCopies<1>();
    __syncthreads();
    AttendPage<T, kHeadDim>(rows, shared + page % kStages * 2 * kTileElements<kHeadDim>,
                            page * kPageTokens, scale_log2, &split);
    if (page % kPagesPerSplit == kPagesPerSplit - 1 || page == pages - 1) {
      for (int r = 0; r < 2; ++r) MergeRow(r, split.row[r], split, &total);
      Clear(&split);
    }
    __syncthreads();  // all have read what the next load overwrites
  }
  StoreRows(total, offset, static_cast<T*>(p.out));
}

// Whether HopperPrefillKernel computes it.
bool OnHopper(DType dtype, int64_t head_dim) {
  return ThisChip().is_hopper() && HopperPrefillSupports(dtype, head_dim);
}

template <typename T, int kHeadDim>
cudaError_t LaunchHopper(const PagedAttentionParams& params, cudaStream_t stream) {
  constexpr int kBytes = sizeof(PageRing<kHeadDim>);
  static const cudaError_t allowed = AllowShared(HopperPrefillKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const auto grid = static_cast<unsigned>(params.num_tiles * params.num_kv_heads);
  return LaunchDependent(HopperPrefillKernel<T, kHeadDim>,
                         {grid, HopperPrefillThreads(kHeadDim), kBytes}, stream, params,
                         ScaleLog2(params));
}

}  // namespace

int64_t PortablePrefillTileTokens(int64_t group) { return kPrefillRows / group; }

int64_t PrefillTileTokens(DType dtype, int64_t head_dim, int64_t group) {
  return (OnHopper(dtype, head_dim) ? HopperPrefillRows(head_dim) : kPrefillRows) / group;
}

cudaError_t PortablePrefillAttention(const PagedAttentionParams& params, cudaStream_t stream) {
  const int64_t group = params.num_heads / params.num_kv_heads;
  if (params.num_tiles == 0) return cudaSuccess;
  if (!AttentionSupports(params.kv.head_dim, group)) return cudaErrorInvalidValue;
  if (params.kv.dtype == DType::kF32)
    return FloatAttention(params, PortablePrefillTileTokens(group), stream);
  return Dispatch(params, [&](auto element, auto head_dim) {
    using T = decltype(element);
    constexpr int kDim = decltype(head_dim)::value;
    constexpr int kBytes = 2 * 2 * kTileElements<kDim> * static_cast<int>(sizeof(T));
    static const cudaError_t allowed = AllowShared(PrefillKernel<T, kDim>, kBytes);
    if (allowed != cudaSuccess) return allowed;
    const dim3 grid(params.num_tiles, params.num_kv_heads);
    PrefillKernel<T, kDim><<<grid, kPrefillWarps * 32, kBytes, stream>>>(params, ScaleLog2(params));
    return cudaGetLastError();
  });
}

cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream) {
  const int64_t group = params.num_heads / params.num_kv_heads;
  if (params.num_tiles == 0 || !OnHopper(params.kv.dtype, params.kv.head_dim) ||
      !AttentionSupports(params.kv.head_dim, group)) {
    return PortablePrefillAttention(params, stream);
  }
  return Dispatch(params, [&](auto element, auto head_dim) {
    constexpr int kDim = decltype(head_dim)::value;
    if constexpr (kDim == 64 || kDim == 128) {
      return LaunchHopper<decltype(element), kDim>(params, stream);
    }
    return cudaErrorInvalidValue;
  });
}

}  // namespace sieve::cuda
