#include "kernels/cuda/element.cuh"
#include "kernels/cuda/entry_mlp.h"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 256;

// A thread block a block.
template <typename T>
__global__ void __launch_bounds__(kThreads) GatherKernel(EntryMlpParams p, T* out) {
  const int d = static_cast<int>(p.kv.head_dim);
  const int entry = kPageTokens * d / static_cast<int>(p.layout.entries);
  const T* const from =
      reinterpret_cast<const T*>(p.kv.base + p.blocks[blockIdx.x].page * p.kv.page_stride +
                                 p.kv_head * p.kv.head_stride) +
      (p.values ? kPageTokens * d : 0);
  T* const to = out + static_cast<int64_t>(blockIdx.x) * kPageTokens * d;
  for (int i = threadIdx.x; i < kPageTokens * d; i += kThreads) {
    const float x = ToFloat(from[PageOffset(i / d, i % d, d, sizeof(T))]);
    to[i] = SaturatedFrom<T>(p.position == nullptr ? x : x + p.position[i % entry]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) GeluKernel(const float* x, T* out, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  out[i] = SaturatedFrom<T>(x[i] / 2 * (1 + erff(x[i] * 0.70710678f)));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) StoreKernel(EntryMlpParams p, const float* entries) {
  const int64_t count = p.layout.entries * p.layout.head_dim;
  T* const to = reinterpret_cast<T*>(p.summaries.of(p.blocks[blockIdx.x].page, p.kv_head) +
                                     (p.values ? p.layout.entry_values : p.layout.entry_keys));
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    to[i] = SaturatedFrom<T>(entries[blockIdx.x * count + i]);
  }
}

}  // namespace

cudaError_t GatherEntries(const EntryMlpParams& params, void* out, cudaStream_t stream) {
  if (params.num_blocks == 0) return cudaSuccess;
  return WithElement(params.kv.dtype, [&](auto element) {
    using T = decltype(element);
    const auto blocks = static_cast<unsigned>(params.num_blocks);
    GatherKernel<T><<<blocks, kThreads, 0, stream>>>(params, static_cast<T*>(out));
    return cudaGetLastError();
  });
}

cudaError_t Gelu(const float* x, void* out, DType dtype, int64_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  return WithElement(dtype, [&](auto element) {
    using T = decltype(element);
    const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
    GeluKernel<T><<<blocks, kThreads, 0, stream>>>(x, static_cast<T*>(out), count);
    return cudaGetLastError();
  });
}

cudaError_t StoreEntries(const EntryMlpParams& params, const float* entries, cudaStream_t stream) {
  if (params.num_blocks == 0) return cudaSuccess;
  return WithElement(params.kv.dtype, [&](auto element) {
    const auto blocks = static_cast<unsigned>(params.num_blocks);
    StoreKernel<decltype(element)><<<blocks, kThreads, 0, stream>>>(params, entries);
    return cudaGetLastError();
  });
}

}  // namespace sieve::cuda
