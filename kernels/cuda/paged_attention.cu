#include <cmath>

#include "kernels/cuda/attention_float.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/paged_attention.h"

namespace sieve::cuda {
namespace {

constexpr int kPagesPerSplit = kSplitTokens / kPageTokens;
constexpr int kPrefillWarps = 4;
constexpr int kPrefillRows = 16 * kPrefillWarps;

// Floats of a partial result: out[head_dim], max, total.
__host__ __device__ constexpr int64_t PartialFloats(int64_t head_dim) { return head_dim + 2; }

struct Place {
  const char* pages;  // of this key/value head, in page 0
  const int32_t* table;
  __device__ Place(const PagedAttentionParams& p, const AttentionTile& tile, int kv_head)
      : pages(p.kv.base + kv_head * p.kv.head_stride),
        table(p.block_tables + tile.sequence * p.block_table_stride) {}
  __device__ const char* page(const PagedAttentionParams& p, int index) const {
    return pages + table[index] * p.kv.page_stride;
  }
};

// The rows of a warp: 16 from `first_row` on of a tile of num_tokens * group rows.
template <typename T, int kHeadDim>
__device__ __forceinline__ void SetUpRows(const PagedAttentionParams& p, const AttentionTile& tile,
                                          int kv_head, int first_row, WarpRows<T, kHeadDim>* rows,
                                          int64_t (&offset)[2]) {
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % 32 / 4 + 8 * r;
    const int token = row / group;
    const bool valid = token < tile.num_tokens;
    rows->position[r] = tile.position + (valid ? token : tile.num_tokens - 1);
    offset[r] = valid ? ((tile.first_token + token) * p.num_heads + kv_head * group + row % group) *
                            kHeadDim
                      : -1;
  }
  LoadQueries<T, kHeadDim>(static_cast<const T*>(p.q), offset, rows);
}

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
      MergeSplit(&total, split);
      Clear(&split);
    }
    __syncthreads();  // all have read what the next load overwrites
  }
  T* const out = static_cast<T*>(p.out);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (offset[r] < 0) continue;
    const float scale = 1 / total.row[r].total;
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      *reinterpret_cast<uint32_t*>(out + offset[r] + 8 * n + threadIdx.x % 4 * 2) =
          Pack<T>(total.out[n][2 * r] * scale, total.out[n][2 * r + 1] * scale);
    }
  }
}

// A block of one warp: one split of one tile of one token.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32)
    DecodeKernel(PagedAttentionParams p, float scale_log2, float* partials, int max_splits) {
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  constexpr int kStages = kHeadDim <= 64 ? kPagesPerSplit : 2;
  const AttentionTile tile = p.tiles[blockIdx.z];
  const int kv_head = blockIdx.y, split = blockIdx.x;
  const int first_page = split * kPagesPerSplit;
  const int pages = min(kPagesPerSplit, tile.position / kPageTokens + 1 - first_page);
  if (pages <= 0) return;
  const Place place(p, tile, kv_head);
  const auto load = [&](int page) {
    if (page < pages) {
      LoadPage<T, kHeadDim, 32>(place.page(p, first_page + page),
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
  const AttentionTile tile = p.tiles[blockIdx.y];
  const int head = blockIdx.x, splits = tile.position / kSplitTokens + 1;
  const float* partial =
      partials + (blockIdx.y * p.num_heads + head) * max_splits * PartialFloats(kHeadDim);
  SoftmaxState state;
  float out = 0;
#pragma unroll 4
  for (int split = 0; split < splits; ++split, partial += PartialFloats(kHeadDim)) {
    const MergeFactors f = Merge(&state, {partial[kHeadDim], partial[kHeadDim + 1]});
    out = MergeValue(f, out, partial[threadIdx.x]);
  }
  T* to = static_cast<T*>(p.out) + (tile.first_token * p.num_heads + head) * kHeadDim;
  to[threadIdx.x] = FromFloat<T>(out * (1 / state.total));
}

template <typename F>
cudaError_t WithHeadDim(int64_t head_dim, F f) {
  switch (head_dim) {
    case 64:
      return f(std::integral_constant<int, 64>());
    case 80:
      return f(std::integral_constant<int, 80>());
    case 96:
      return f(std::integral_constant<int, 96>());
    case 128:
      return f(std::integral_constant<int, 128>());
    case 256:
      return f(std::integral_constant<int, 256>());
    default:
      return cudaErrorInvalidValue;
  }
}

// Calls f with the element type and the head dimension of a 16-bit cache.
template <typename F>
cudaError_t Dispatch(const PagedAttentionParams& p, F f) {
  return WithHeadDim(p.kv.head_dim, [&](auto head_dim) {
    if (p.kv.dtype == DType::kBF16) return f(__nv_bfloat16{}, head_dim);
    if (p.kv.dtype == DType::kF16) return f(__half{}, head_dim);
    return cudaErrorInvalidValue;
  });
}

float ScaleLog2(const PagedAttentionParams& p) { return p.scale * static_cast<float>(M_LOG2E); }

template <typename Kernel>
cudaError_t AllowShared(Kernel kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

}  // namespace

bool AttentionSupports(int64_t head_dim, int64_t group) {
  return (head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 ||
          head_dim == 256) &&
         group >= 1 && group <= 16;
}

int64_t PrefillTileTokens(int64_t group) { return kPrefillRows / group; }

int64_t DecodePartialFloats(int64_t num_tiles, int64_t num_heads, int64_t head_dim,
                            int64_t max_splits) {
  return num_tiles * num_heads * max_splits * PartialFloats(head_dim);
}

cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream) {
  if (params.num_tiles == 0) return cudaSuccess;
  if (!AttentionSupports(params.kv.head_dim, params.num_heads / params.num_kv_heads)) {
    return cudaErrorInvalidValue;
  }
  if (params.kv.dtype == DType::kF32)
    return FloatAttention(params, PrefillTileTokens(params.num_heads / params.num_kv_heads),
                          stream);
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
    DecodeKernel<T, kDim>
        <<<grid, 32, kBytes, stream>>>(params, ScaleLog2(params), partials, max_splits);
    if (cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
    const dim3 merge_grid(params.num_heads, params.num_tiles);
    MergeKernel<T, kDim><<<merge_grid, kDim, 0, stream>>>(params, partials, max_splits);
    return cudaGetLastError();
  });
}

}  // namespace sieve::cuda
