#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void EmbedKernel(EmbedParams p) {
  LetNextBegin();
  WaitForPrevious();
  const T* table = static_cast<const T*>(p.table);
  const int64_t row = p.tokens[blockIdx.x];
  float* out = p.out + blockIdx.x * p.hidden;
  for (int64_t i = threadIdx.x; i < p.hidden; i += kThreads) {
    out[i] = ToFloat(table[sizeof(T) == 2 ? TiledOffset(row, i, p.hidden) : row * p.hidden + i]);
  }
}

// Four neighbours at once.
__device__ __forceinline__ void Store4(const float4& v, float* out) {
  *reinterpret_cast<float4*>(out) = v;
}
template <typename T>
__device__ __forceinline__ void Store4(const float4& v, T* out) {
  *reinterpret_cast<uint2*>(out) = make_uint2(Pack<T>(v.x, v.y), Pack<T>(v.z, v.w));
}

// A thread holds kHeld float4s of the row, all of which are fetched at once.
template <typename T, int kHeld>
__global__ void __launch_bounds__(kNormThreads) RmsNormKernel(RmsNormParams p) {
  LetNextBegin();
  WaitForPrevious();
  __shared__ float warp_sums[kNormThreads / 32];
  const int fours = static_cast<int>(p.hidden / 4);
  const float4* x = reinterpret_cast<const float4*>(p.x + blockIdx.x * p.hidden);
  float4 held[kHeld];
  float squares = 0;
  for (int first = threadIdx.x; first < fours; first += kHeld * kNormThreads) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (first + i * kNormThreads < fours) held[i] = x[first + i * kNormThreads];
    }
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (first + i * kNormThreads < fours) squares = AddSquares(squares, held[i]);
    }
  }
  squares = WarpSum(squares);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = squares;
  __syncthreads();
  const float scale = NormScale(warp_sums, p.hidden, p.epsilon);
  const float4* weight = reinterpret_cast<const float4*>(p.weight);
  T* out = static_cast<T*>(p.out) + blockIdx.x * p.hidden;
  const bool holds_all = fours <= kHeld * kNormThreads;
  for (int first = threadIdx.x; first < fours; first += kHeld * kNormThreads) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int at = first + i * kNormThreads;
      if (at >= fours) break;
      Store4(Normalize(holds_all ? held[i] : x[at], scale, weight[at]), out + 4 * at);
    }
  }
}

template <typename T>
__global__ void SwiGluKernel(SwiGluParams p) {
  LetNextBegin();
  WaitForPrevious();
  const float* gate_up = p.gate_up + blockIdx.x * 2 * p.inner;
  T* out = static_cast<T*>(p.out) + blockIdx.x * p.inner;
  for (int64_t i = threadIdx.x; i < p.inner; i += kThreads) {
    out[i] = FromFloat<T>(SwiGluOf(gate_up[GateRow(i)], gate_up[UpRow(i)]));
  }
}

__global__ void GatherRowsKernel(GatherRowsParams p) {
  const int64_t chunks = p.row_bytes / 16;
  const uint4* from = static_cast<const uint4*>(p.from) + p.rows[blockIdx.x] * chunks;
  uint4* out = static_cast<uint4*>(p.out) + blockIdx.x * chunks;
  for (int64_t i = threadIdx.x; i < chunks; i += kThreads) out[i] = from[i];
}

// A block a token.
template <typename Params>
cudaError_t LaunchOfTokens(void (*kernel)(Params), unsigned threads, const Params& params,
                           cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(params.num_tokens);
  return LaunchDependent(kernel, {blocks, threads}, stream, params);
}

}  // namespace

cudaError_t GatherRows(const GatherRowsParams& params, cudaStream_t stream) {
  if (params.row_bytes % 16 != 0) return cudaErrorInvalidValue;
  if (params.num_rows == 0) return cudaSuccess;
  GatherRowsKernel<<<params.num_rows, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t Embed(const EmbedParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0) return cudaSuccess;
  return WithElement(params.dtype, [&](auto element) {
    return LaunchOfTokens(EmbedKernel<decltype(element)>, kThreads, params, stream);
  });
}

cudaError_t RmsNorm(const RmsNormParams& params, cudaStream_t stream) {
  if (params.hidden % 4 != 0) return cudaErrorInvalidValue;
  if (params.num_tokens == 0) return cudaSuccess;
  return WithElement(params.dtype, [&](auto element) {
    const auto kernel = params.hidden <= 4 * 2 * kNormThreads ? RmsNormKernel<decltype(element), 2>
                                                              : RmsNormKernel<decltype(element), 4>;
    return LaunchOfTokens(kernel, kNormThreads, params, stream);
  });
}

cudaError_t SwiGlu(const SwiGluParams& params, cudaStream_t stream) {
  if (params.inner % 8 != 0) return cudaErrorInvalidValue;
  if (params.num_tokens == 0) return cudaSuccess;
  return WithElement(params.dtype, [&](auto element) {
    return LaunchOfTokens(SwiGluKernel<decltype(element)>, kThreads, params, stream);
  });
}

}  // namespace sieve::cuda
