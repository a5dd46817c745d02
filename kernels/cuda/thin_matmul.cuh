#ifndef SIEVE_KERNELS_CUDA_THIN_MATMUL_CUH_
#define SIEVE_KERNELS_CUDA_THIN_MATMUL_CUH_

// Products for few tokens, where reading the weights is what takes the time: Hopper's copy engine
// streams 16 rows of weights through shared memory, many stages ahead, and a warp for each eight
// tokens does nothing but multiply.

#include <cuda_runtime_api.h>

#include <algorithm>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/stage_barrier.cuh"
#include "kernels/cuda/store_sum.cuh"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {

template <typename T, int kTokenTilesArg, int kMaxChainsArg>
struct ThinTile {
  static constexpr int kRows = 16, kDepth = 256;
  static constexpr int kTokenTiles = kTokenTilesArg, kTokens = 8 * kTokenTilesArg;
  static constexpr int kMaxChains = kMaxChainsArg;
  static constexpr int kStages = (kTokenTilesArg <= 2 ? 8 : 6) / kMaxChainsArg;  // of a chain
  static constexpr int kStride = kDepth + 8;  // elements; ldmatrix meets no bank twice
  static constexpr int kCopyWarps = 4;
  static constexpr int kThreads = 32 * (kCopyWarps + kMaxChains * kTokenTiles);

  struct Stage {
    alignas(16) T weights[kRows][kStride];
    alignas(16) T x[kTokens][kStride];
  };
  struct Chain {
    Stage stages[kStages];
    StageBarrier full[kStages], empty[kStages];
    float sums[kTokenTiles][32][4];
  };
  struct Shared {
    Chain chains[kMaxChains];
  };
};

// Steps of kDepth of one chain.
template <typename Tile>
__device__ __forceinline__ int ThinSteps(const MatMulParams& p, int chain) {
  const int64_t depth = min(kChainLength, p.inputs - chain * kChainLength);
  return static_cast<int>((depth + Tile::kDepth - 1) / Tile::kDepth);
}

// A warp copies whole rows, a chunk of 16 bytes a lane.
template <typename Tile, typename T>
__device__ __forceinline__ void ThinCopyStep(const MatMulParams& p, typename Tile::Stage* stage,
                                             int64_t first_row, int64_t k) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool inside = k + lane * 8 < p.inputs;
  const int64_t at = inside ? k + lane * 8 : 0;
#pragma unroll
  for (int row = warp; row < Tile::kRows; row += Tile::kCopyWarps) {
    const int64_t from = min(first_row + row, p.outputs - 1);
    CopyAsync16(&stage->weights[row][lane * 8],
                static_cast<const T*>(p.weights) + TiledOffset(from, at, p.inputs), inside);
  }
  for (int token = warp; token < p.num_tokens; token += Tile::kCopyWarps) {
    CopyAsync16(&stage->x[token][lane * 8], static_cast<const T*>(p.x) + token * p.inputs + at,
                inside);
  }
}

template <typename Tile, typename T>
__device__ __forceinline__ void ThinProduce(const MatMulParams& p, typename Tile::Shared* shared,
                                            int64_t first_row, int chains) {
  const int most_steps = ThinSteps<Tile>(p, 0);
  for (int step = 0; step < most_steps; ++step) {
    for (int c = 0; c < chains; ++c) {
      if (step >= ThinSteps<Tile>(p, c)) continue;
      auto& chain = shared->chains[c];
      const int slot = step % Tile::kStages;
      if (step >= Tile::kStages) chain.empty[slot].Wait(step / Tile::kStages % 2 ^ 1);
      ThinCopyStep<Tile, T>(p, &chain.stages[slot], first_row,
                            c * kChainLength + int64_t{step} * Tile::kDepth);
      chain.full[slot].ArriveAfterCopies();
    }
  }
}

// Fragments of kAhead steps of 16.
template <int kAhead>
struct ThinFragments {
  uint32_t a[kAhead][4];
  uint32_t b[kAhead / 2][4];  // of two steps each
};

template <typename Tile, int kAhead>
__device__ __forceinline__ void ThinLoad(const typename Tile::Stage& stage, int token_tile, int k,
                                         ThinFragments<kAhead>* f) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    LoadMatrices4(&stage.weights[lane % 16][k + 16 * i + lane / 16 * 8], f->a[i]);
  }
#pragma unroll
  for (int i = 0; i < kAhead / 2; ++i) {
    LoadMatrices4(&stage.x[8 * token_tile + lane % 8][k + 32 * i + lane / 8 * 8], f->b[i]);
  }
}

template <typename Tile, typename T>
__device__ __forceinline__ void ThinConsume(typename Tile::Chain* chain, int token_tile, int steps,
                                            int64_t depth, float (&sums)[4]) {
  constexpr int kAhead = 4;
  for (int step = 0; step < steps; ++step) {
    const int slot = step % Tile::kStages;
    chain->full[slot].Wait(step / Tile::kStages % 2);
    const auto& stage = chain->stages[slot];
    // A multiple of 64: what a last stage holds beyond may be loaded but is not multiplied.
    const int end =
        static_cast<int>(min(int64_t{Tile::kDepth}, depth - int64_t{step} * Tile::kDepth));
    ThinFragments<kAhead> now, next;
    ThinLoad<Tile>(stage, token_tile, 0, &now);
#pragma unroll
    for (int k = 0; k < Tile::kDepth; k += 16 * kAhead) {
      if (k >= end) break;
      if (k + 16 * kAhead < Tile::kDepth) {
        ThinLoad<Tile>(stage, token_tile, k + 16 * kAhead, &next);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        Mma<T>(sums, now.a[i], now.b[i / 2][i % 2 * 2], now.b[i / 2][i % 2 * 2 + 1]);
      }
      now = next;
    }
    chain->empty[slot].Arrive();  // every lane: each vouches for what it has read
  }
}

template <typename Tile, typename T>
__global__ void __launch_bounds__(Tile::kThreads) ThinMatMulKernel(MatMulParams p) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) char shared_bytes[];
  auto* const shared = reinterpret_cast<typename Tile::Shared*>(shared_bytes);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * Tile::kRows;
  const int chains = static_cast<int>((p.inputs + kChainLength - 1) / kChainLength);
  if (threadIdx.x == 0) {
    for (auto& chain : shared->chains) {
      for (int i = 0; i < Tile::kStages; ++i) {
        chain.full[i].Init(32 * Tile::kCopyWarps);
        chain.empty[i].Init(32 * Tile::kTokenTiles);
      }
    }
  }
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool copies = warp < Tile::kCopyWarps;
  const int consumer = warp - Tile::kCopyWarps;
  const int c = consumer / Tile::kTokenTiles, token_tile = consumer % Tile::kTokenTiles;
  float sums[4] = {};
  if (copies) {
    ThinProduce<Tile, T>(p, shared, first_row, chains);
  } else if (c < chains) {
    const int64_t depth = min(kChainLength, p.inputs - c * kChainLength);
    ThinConsume<Tile, T>(&shared->chains[c], token_tile, ThinSteps<Tile>(p, c), depth, sums);
  }
  if (Tile::kMaxChains > 1) {
    if (!copies && c > 0) {
      for (int i = 0; i < 4; ++i) shared->chains[c].sums[token_tile][lane][i] = sums[i];
    }
    __syncthreads();
  }
  if (copies || c > 0) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t token = 8 * token_tile + lane % 4 * 2 + i % 2;
    const int64_t row = first_row + lane / 4 + i / 2 * 8;
    float sum = BeginSum(p, token, row) + sums[i];
    for (int other = 1; other < chains; ++other) {
      sum += shared->chains[other].sums[token_tile][lane][i];
    }
    StoreSum(p, token, row, sum);
  }
#endif
}

template <typename Tile, typename T>
cudaError_t LaunchThin(const MatMulParams& p, cudaStream_t stream) {
  constexpr int kBytes = static_cast<int>(sizeof(typename Tile::Shared));
  static const cudaError_t allowed = cudaFuncSetAttribute(
      ThinMatMulKernel<Tile, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const unsigned blocks = static_cast<unsigned>((p.outputs + Tile::kRows - 1) / Tile::kRows);
  ThinMatMulKernel<Tile, T><<<blocks, Tile::kThreads, kBytes, stream>>>(p);
  return cudaGetLastError();
}

// Whether ThinMatMul can do it (whole steps; one or two chains) and is faster than a plain tile:
// with one chain only for the fewest tokens, since copying more of them costs more than it hides;
// two chains side by side always win.
inline bool ThinMatMulTakes(const MatMulParams& p) {
  const int64_t most_tokens = p.inputs > kChainLength ? 32 : 4;
  return p.num_tokens <= most_tokens && p.inputs <= 2 * kChainLength &&
         p.inputs % 64 == 0;
}

template <typename T>
cudaError_t ThinMatMul(const MatMulParams& p, cudaStream_t stream) {
  if (p.inputs <= kChainLength) return LaunchThin<ThinTile<T, 1, 1>, T>(p, stream);
  if (p.num_tokens <= 8) return LaunchThin<ThinTile<T, 1, 2>, T>(p, stream);
  if (p.num_tokens <= 16) return LaunchThin<ThinTile<T, 2, 2>, T>(p, stream);
  return LaunchThin<ThinTile<T, 4, 2>, T>(p, stream);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_THIN_MATMUL_CUH_
