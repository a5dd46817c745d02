#include <algorithm>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/portable_matmul.h"
#include "kernels/cuda/store_sum.cuh"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {
namespace {

// A block computes kRows outputs for kTokens tokens. Both tiles go through shared memory, kDepth of
// k at a time, kStages - 1 of them ahead; the 16-byte chunks of a row are permuted so that ldmatrix
// meets no bank twice.
template <int kRowsArg, int kTokensArg, int kWarpRowsArg, int kWarpTokensArg, int kDepthArg,
          int kStagesArg, int kThreadsArg>
struct Tile {
  static constexpr int kRows = kRowsArg, kTokens = kTokensArg;
  static constexpr int kWarpRows = kWarpRowsArg, kWarpTokens = kWarpTokensArg;
  static constexpr int kDepth = kDepthArg, kStages = kStagesArg, kThreads = kThreadsArg;
  static constexpr int kWarps = kRows / kWarpRows * (kTokens / kWarpTokens);  // that compute
  static constexpr int kChunks = kDepth / 8;                                  // of a row
  static constexpr int kStageElements = (kRows + kTokens) * kDepth;
  static constexpr int kSharedBytes = kStages * kStageElements * 2;
  static_assert(kWarps * 32 <= kThreads && kDepth % 64 == 0 && kWarpTokens % 8 == 0);
};

template <typename Tile>
__device__ __forceinline__ int Place(int row, int chunk) {
  return row * Tile::kDepth + (chunk ^ (row & 7)) * 8;
}

// Rows [first, first + kCount) of a matrix [rows, inputs], columns [k, k + kDepth); zeros outside.
// `offset` says where an element is.
template <typename Tile, int kCount, typename T, typename Offset>
__device__ __forceinline__ void LoadRows(const T* matrix, int64_t first, int64_t rows,
                                         int64_t inputs, int64_t k, T* shared, Offset offset) {
  for (int i = threadIdx.x; i < kCount * Tile::kChunks; i += Tile::kThreads) {
    const int row = i / Tile::kChunks, chunk = i % Tile::kChunks;
    const bool valid = first + row < rows && k + chunk * 8 < inputs;
    const T* from = matrix + (valid ? offset(first + row, k + chunk * 8, inputs) : 0);
    CopyAsync16(shared + Place<Tile>(row, chunk), from, valid);
  }
}

// Fragments are read kAhead steps of k at a time and then multiplied: reading and multiplying in
// turn, a chain of products would wait for shared memory at every link.
template <typename Tile, typename T>
__device__ __forceinline__ void MultiplyStage(
    const T* weights, const T* x, int warp_row, int warp_token,
    float (&sums)[Tile::kWarpRows / 16][Tile::kWarpTokens / 8][4]) {
  constexpr int kRowParts = Tile::kWarpRows / 16, kTokenParts = Tile::kWarpTokens / 8;
  constexpr int kAhead = kRowParts == 1 && kTokenParts <= 2 ? 8 : 2;
  const int lane = threadIdx.x % 32;
#pragma unroll 2
  for (int begin = 0; begin < Tile::kDepth / 16; begin += kAhead) {
    uint32_t a[kAhead][kRowParts][4], b[kAhead][kTokenParts][2];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int chunk = 2 * (begin + k);
#pragma unroll
      for (int i = 0; i < kRowParts; ++i) {
        const int row = warp_row + 16 * i + lane % 16;
        LoadMatrices4(weights + Place<Tile>(row, chunk + lane / 16), a[k][i]);
      }
#pragma unroll
      for (int j = 0; j < kTokenParts; ++j) {
        const int row = warp_token + 8 * j + lane % 8;
        LoadMatrices2(x + Place<Tile>(row, chunk + lane / 8 % 2), b[k][j]);
      }
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
#pragma unroll
      for (int i = 0; i < kRowParts; ++i) {
#pragma unroll
        for (int j = 0; j < kTokenParts; ++j) Mma<T>(sums[i][j], a[k][i], b[k][j][0], b[k][j][1]);
      }
    }
  }
}

// Calls f(i, j, e, token, row) for the elements of sums that a lane holds.
template <typename Tile, typename F>
__device__ __forceinline__ void ForElements(int64_t first_token, int64_t first_row, F f) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kWarpTokens / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        f(i, j, e, first_token + 8 * j + lane % 4 * 2 + e % 2,
          first_row + 16 * i + lane / 4 + e / 2 * 8);
      }
    }
  }
}

template <typename Tile, typename T, bool kManyChains>
__global__ void __launch_bounds__(Tile::kThreads) MatMulKernel(MatMulParams p) {
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * Tile::kRows;
  const int64_t first_token = static_cast<int64_t>(blockIdx.y) * Tile::kTokens;
  const int steps = static_cast<int>((p.inputs + Tile::kDepth - 1) / Tile::kDepth);
  const auto load = [&](int step) {
    if (step < steps) {
      T* stage = shared + step % Tile::kStages * Tile::kStageElements;
      const int64_t k = static_cast<int64_t>(step) * Tile::kDepth;
      LoadRows<Tile, Tile::kRows>(static_cast<const T*>(p.weights), first_row, p.outputs, p.inputs,
                                  k, stage, TiledOffset);
      LoadRows<Tile, Tile::kTokens>(
          static_cast<const T*>(p.x), first_token, p.num_tokens, p.inputs, k,
          stage + Tile::kRows * Tile::kDepth,
          [](int64_t row, int64_t column, int64_t columns) { return row * columns + column; });
    }
    CommitCopies();
  };
  const int warp = threadIdx.x / 32;
  constexpr int kWarpsInRows = Tile::kRows / Tile::kWarpRows;
  const int warp_row = warp % kWarpsInRows * Tile::kWarpRows;
  const int warp_token = warp / kWarpsInRows * Tile::kWarpTokens;
  float sums[Tile::kWarpRows / 16][Tile::kWarpTokens / 8][4] = {};
  float total[Tile::kWarpRows / 16][Tile::kWarpTokens / 8][4];  // if there are many chains
  if (kManyChains) {
    ForElements<Tile>(first_token + warp_token, first_row + warp_row,
                      [&](int i, int j, int e, int64_t token, int64_t row) {
                        total[i][j][e] = BeginSum(p, token, row);
                      });
  }
  constexpr int kStepsPerChain = static_cast<int>(kChainLength / Tile::kDepth);
  for (int step = 0; step < Tile::kStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    WaitForCopies<Tile::kStages - 2>();
    __syncthreads();  // this stage has come for all, and all are done with the one that load fills
    load(step + Tile::kStages - 1);
    if (warp >= Tile::kWarps) continue;
    const T* stage = shared + step % Tile::kStages * Tile::kStageElements;
    MultiplyStage<Tile>(stage, stage + Tile::kRows * Tile::kDepth, warp_row, warp_token, sums);
    if (kManyChains && (step % kStepsPerChain == kStepsPerChain - 1 || step == steps - 1)) {
      ForElements<Tile>(0, 0, [&](int i, int j, int e, int64_t, int64_t) {
        total[i][j][e] += sums[i][j][e];
        sums[i][j][e] = 0;
      });
    }
  }
  if (warp >= Tile::kWarps) return;
  ForElements<Tile>(first_token + warp_token, first_row + warp_row,
                    [&](int i, int j, int e, int64_t token, int64_t row) {
                      StoreSum(
                          p, token, row,
                          kManyChains ? total[i][j][e] : BeginSum(p, token, row) + sums[i][j][e]);
                    });
}

template <typename Tile, typename T, bool kManyChains>
cudaError_t LaunchChains(const MatMulParams& p, cudaStream_t stream) {
  static const cudaError_t allowed =
      cudaFuncSetAttribute(MatMulKernel<Tile, T, kManyChains>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid((p.outputs + Tile::kRows - 1) / Tile::kRows,
                  (p.num_tokens + Tile::kTokens - 1) / Tile::kTokens);
  MatMulKernel<Tile, T, kManyChains><<<grid, Tile::kThreads, Tile::kSharedBytes, stream>>>(p);
  return cudaGetLastError();
}

template <typename Tile, typename T>
cudaError_t Launch(const MatMulParams& p, cudaStream_t stream) {
  return p.inputs > kChainLength ? LaunchChains<Tile, T, true>(p, stream)
                                 : LaunchChains<Tile, T, false>(p, stream);
}

// Few tokens: memory is the limit, so small tiles fill the chip and deep stages keep many bytes in
// flight.
using Tile8 = Tile<16, 8, 16, 8, 256, 5, 128>;
using Tile16 = Tile<16, 16, 16, 16, 256, 4, 128>;
using Tile32 = Tile<32, 32, 16, 16, 128, 5, 128>;
using Tile64 = Tile<64, 64, 32, 32, 64, 5, 128>;
using Tile128 = Tile<128, 128, 64, 32, 64, 4, 256>;

template <typename T>
cudaError_t MatMul16(const MatMulParams& p, cudaStream_t stream) {
  if (p.inputs % 8 != 0) return cudaErrorInvalidValue;
  if (p.num_tokens <= 8) return Launch<Tile8, T>(p, stream);
  if (p.num_tokens <= 16) return Launch<Tile16, T>(p, stream);
  if (p.num_tokens <= 32) return Launch<Tile32, T>(p, stream);
  if (p.num_tokens <= 256) return Launch<Tile64, T>(p, stream);
  return Launch<Tile128, T>(p, stream);
}

// For checking, not for speed: a thread a sum.
__global__ void MatMulFloatKernel(MatMulParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t token = blockIdx.y;
  if (row >= p.outputs) return;
  const float* w = static_cast<const float*>(p.weights) + row * p.inputs;
  const float* x = static_cast<const float*>(p.x) + token * p.inputs;
  float sum = 0;
  for (int64_t k = 0; k < p.inputs; ++k) sum = fmaf(w[k], x[k], sum);
  StoreSum(p, token, row, BeginSum(p, token, row) + sum);
}

}  // namespace

cudaError_t PortableMatMul(const MatMulParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0 || params.outputs == 0) return cudaSuccess;
  switch (params.dtype) {
    case DType::kBF16:
      return MatMul16<__nv_bfloat16>(params, stream);
    case DType::kF16:
      return MatMul16<__half>(params, stream);
    case DType::kF32: {
      constexpr int kThreads = 128;
      const dim3 grid((params.outputs + kThreads - 1) / kThreads, params.num_tokens);
      MatMulFloatKernel<<<grid, kThreads, 0, stream>>>(params);
      return cudaGetLastError();
    }
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace sieve::cuda
