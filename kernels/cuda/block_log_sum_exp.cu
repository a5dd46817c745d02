#include <algorithm>

#include "kernels/cuda/block_log_sum_exp.h"

namespace sieve::cuda {
namespace {

constexpr int kBlock = 64;
constexpr int kThreads = 128;
constexpr int kGroup = 16;  // logits that a thread holds of each

// Rows of queries a thread has, as registers allow, so that it reads keys for both.
template <int kWidth>
constexpr int kRows = kWidth <= 64 ? 2 : 1;

// Blocks whose keys are in shared memory at a time: 16 KB of them.
template <int kWidth>
constexpr int kTileBlocks = kWidth <= 64 ? 64 / kWidth : 1;

template <int kWidth>
__device__ __forceinline__ void LoadRow(const float* from, float (&row)[kWidth]) {
#pragma unroll
  for (int i = 0; i < kWidth; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    row[i] = four.x, row[i + 1] = four.y, row[i + 2] = four.z, row[i + 3] = four.w;
  }
}

template <int kWidth>
__device__ __forceinline__ float Dot(const float (&a)[kWidth], const float* b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kWidth; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(b + i);
    sum = fmaf(a[i], four.x, sum);
    sum = fmaf(a[i + 1], four.y, sum);
    sum = fmaf(a[i + 2], four.z, sum);
    sum = fmaf(a[i + 3], four.w, sum);
  }
  return sum;
}

// to += factor * from.
template <int kWidth>
__device__ __forceinline__ void AddScaled(float factor, const float* from, float (&to)[kWidth]) {
#pragma unroll
  for (int i = 0; i < kWidth; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    to[i] = fmaf(factor, four.x, to[i]);
    to[i + 1] = fmaf(factor, four.y, to[i + 1]);
    to[i + 2] = fmaf(factor, four.z, to[i + 2]);
    to[i + 3] = fmaf(factor, four.w, to[i + 3]);
  }
}

template <int kWidth>
__device__ __forceinline__ void Store(const float (&row)[kWidth], float* to) {
#pragma unroll
  for (int i = 0; i < kWidth; i += 4) {
    *reinterpret_cast<float4*>(to + i) = make_float4(row[i], row[i + 1], row[i + 2], row[i + 3]);
  }
}

// All threads of a block; floats are a multiple of 4.
__device__ __forceinline__ void CopyToShared(const float* from, int floats, float* to) {
  for (int i = 4 * threadIdx.x; i < floats; i += 4 * kThreads) {
    *reinterpret_cast<float4*>(to + i) = *reinterpret_cast<const float4*>(from + i);
  }
}

// The blocks before that of a row's position.
__device__ __forceinline__ int BlocksOf(const BlockLogSumExpParams& p, int64_t row) {
  if (row >= p.rows) return 0;
  return static_cast<int>(min(p.blocks, (p.begin + row % p.positions) / kBlock));
}

template <int kWidth>
__device__ __forceinline__ float LogSumExpOf(const float (&q)[kWidth], const float* keys) {
  float top = -INFINITY, sum = 0;
#pragma unroll 1
  for (int first = 0; first < kBlock; first += kGroup) {
    float x[kGroup], most = top;
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      x[j] = Dot(q, keys + (first + j) * kWidth);
      most = fmaxf(most, x[j]);
    }
    sum *= __expf(top - most);
    top = most;
#pragma unroll
    for (int j = 0; j < kGroup; ++j) sum += __expf(x[j] - top);
  }
  return top + logf(sum);
}

// Thread i has rows i and, if there are two, i + 128.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) ForwardKernel(BlockLogSumExpParams p) {
  __shared__ __align__(16) float keys[kTileBlocks<kWidth> * kBlock * kWidth];
  __shared__ int most;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kRows<kWidth> + threadIdx.x;
  const float* const k = p.k + blockIdx.y * p.blocks * kBlock * kWidth;
  if (threadIdx.x == 0) most = 0;
  __syncthreads();
  float q[kRows<kWidth>][kWidth];
  int blocks[kRows<kWidth>];
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
    const int64_t row = first + r * kThreads;
    blocks[r] = BlocksOf(p, row);
    atomicMax(&most, blocks[r]);
    LoadRow(p.q + (blockIdx.y * p.rows + min(row, p.rows - 1)) * kWidth, q[r]);
  }
  __syncthreads();
  for (int tile = 0; tile < p.blocks; tile += kTileBlocks<kWidth>) {
    const int count = min(kTileBlocks<kWidth>, static_cast<int>(p.blocks) - tile);
    __syncthreads();
    if (tile < most) CopyToShared(k + tile * kBlock * kWidth, count * kBlock * kWidth, keys);
    __syncthreads();
    for (int n = tile; n < tile + count; ++n) {
#pragma unroll
      for (int r = 0; r < kRows<kWidth>; ++r) {
        const int64_t row = first + r * kThreads;
        if (row >= p.rows) continue;
        const float* block = keys + (n - tile) * kBlock * kWidth;
        p.out[(blockIdx.y * p.rows + row) * p.blocks + n] =
            n < blocks[r] ? LogSumExpOf(q[r], block) : 0;
      }
    }
  }
}

// A thread a row.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) QueryGradientKernel(BlockLogSumExpGradientParams p) {
  __shared__ __align__(16) float keys[kTileBlocks<kWidth> * kBlock * kWidth];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t at = blockIdx.y * p.of.rows + min(row, p.of.rows - 1);
  const float* const k = p.of.k + blockIdx.y * p.of.blocks * kBlock * kWidth;
  const int blocks = BlocksOf(p.of, row);
  float q[kWidth], sum[kWidth] = {};
  LoadRow(p.of.q + at * kWidth, q);
  for (int tile = 0; tile < p.of.blocks; tile += kTileBlocks<kWidth>) {
    const int count = min(kTileBlocks<kWidth>, static_cast<int>(p.of.blocks) - tile);
    __syncthreads();
    CopyToShared(k + tile * kBlock * kWidth, count * kBlock * kWidth, keys);
    __syncthreads();
    for (int n = tile; n < min(tile + count, blocks); ++n) {
      const float gradient = p.gradient[at * p.of.blocks + n];
      if (gradient == 0) continue;
      const float total = p.of.out[at * p.of.blocks + n];
      for (int j = 0; j < kBlock; ++j) {
        const float* key = keys + ((n - tile) * kBlock + j) * kWidth;
        AddScaled(gradient * __expf(Dot(q, key) - total), key, sum);
      }
    }
  }
  if (row < p.of.rows) Store(sum, p.q_gradient + at * kWidth);
}

// A thread a key: a block of threads has two blocks of keys, and goes through the rows.
template <int kWidth>
__global__ void __launch_bounds__(kThreads) KeyGradientKernel(BlockLogSumExpGradientParams p) {
  constexpr int kTileRows = 64;
  constexpr int kBlocks = kThreads / kBlock;
  __shared__ __align__(16) float rows[kTileRows * kWidth];
  __shared__ float gradients[kTileRows][kBlocks], totals[kTileRows][kBlocks];
  const int first_block = blockIdx.x * kBlocks, own = threadIdx.x / kBlock;
  const int64_t key = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t keys = p.of.blocks * kBlock;
  float k[kWidth], sum[kWidth] = {};
  LoadRow(p.of.k + (blockIdx.y * keys + min(key, keys - 1)) * kWidth, k);
  for (int64_t tile = 0; tile < p.of.rows; tile += kTileRows) {
    const int count = static_cast<int>(min(static_cast<int64_t>(kTileRows), p.of.rows - tile));
    __syncthreads();
    CopyToShared(p.of.q + (blockIdx.y * p.of.rows + tile) * kWidth, count * kWidth, rows);
    for (int i = threadIdx.x; i < kTileRows * kBlocks; i += kThreads) {
      const int row = i / kBlocks, n = first_block + i % kBlocks;
      const bool reads = row < count && n < BlocksOf(p.of, tile + row);
      const int64_t at = (blockIdx.y * p.of.rows + tile + row) * p.of.blocks + n;
      gradients[row][i % kBlocks] = reads ? p.gradient[at] : 0;
      totals[row][i % kBlocks] = reads ? p.of.out[at] : 0;
    }
    __syncthreads();
    for (int row = 0; row < count; ++row) {
      const float gradient = gradients[row][own];
      if (gradient == 0) continue;
      const float* q = rows + row * kWidth;
      AddScaled(gradient * __expf(Dot(k, q) - totals[row][own]), q, sum);
    }
  }
  if (key < keys) Store(sum, p.k_gradient + (blockIdx.y * keys + key) * kWidth);
}

unsigned Divided(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

template <int kWidth>
cudaError_t Forward(const BlockLogSumExpParams& p, cudaStream_t stream) {
  const dim3 grid(Divided(p.rows, kThreads * kRows<kWidth>), static_cast<unsigned>(p.batch));
  ForwardKernel<kWidth><<<grid, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

template <int kWidth>
cudaError_t Gradient(const BlockLogSumExpGradientParams& p, cudaStream_t stream) {
  const unsigned batch = static_cast<unsigned>(p.of.batch);
  QueryGradientKernel<kWidth>
      <<<dim3(Divided(p.of.rows, kThreads), batch), kThreads, 0, stream>>>(p);
  KeyGradientKernel<kWidth>
      <<<dim3(Divided(p.of.blocks * kBlock, kThreads), batch), kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

bool IsEmpty(const BlockLogSumExpParams& p) { return p.batch == 0 || p.rows == 0 || p.blocks == 0; }

// Queries without blocks, or keys without queries, have gradients too.
cudaError_t ZeroGradients(const BlockLogSumExpGradientParams& p, cudaStream_t stream) {
  const auto zero = [&](float* gradient, int64_t rows) {
    const int64_t bytes = p.of.batch * rows * p.of.width * static_cast<int64_t>(sizeof(float));
    return bytes == 0 ? cudaSuccess : cudaMemsetAsync(gradient, 0, bytes, stream);
  };
  const cudaError_t error = zero(p.q_gradient, p.of.rows);
  return error != cudaSuccess ? error : zero(p.k_gradient, p.of.blocks * kBlock);
}

}  // namespace

bool BlockLogSumExpSupports(int64_t width) {
  return width == 8 || width == 16 || width == 32 || width == 64 || width == 128;
}

cudaError_t BlockLogSumExp(const BlockLogSumExpParams& p, cudaStream_t stream) {
  if (IsEmpty(p)) return cudaSuccess;
  switch (p.width) {
    case 8:
      return Forward<8>(p, stream);
    case 16:
      return Forward<16>(p, stream);
    case 32:
      return Forward<32>(p, stream);
    case 64:
      return Forward<64>(p, stream);
    case 128:
      return Forward<128>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

bool BlockLogSumExpGradientSupports(int64_t width) {
  return width == 8 || width == 16 || width == 32;
}

cudaError_t BlockLogSumExpGradient(const BlockLogSumExpGradientParams& p, cudaStream_t stream) {
  if (IsEmpty(p.of)) return ZeroGradients(p, stream);
  switch (p.of.width) {
    case 8:
      return Gradient<8>(p, stream);
    case 16:
      return Gradient<16>(p, stream);
    case 32:
      return Gradient<32>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace sieve::cuda
