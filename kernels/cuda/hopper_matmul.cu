// Products on Hopper: one warp streams weights and activations through a ring of stages in shared
// memory, warpgroups multiply. A block stays for many tiles, and while a tile's sums are stored the
// next one's operands come in.

#include <algorithm>

#include "kernels/cuda/hopper_matmul.h"
#include "kernels/cuda/hopper_store.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/wgmma.cuh"

namespace sieve::cuda {
namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// A box of activations, for all blocks of the cluster, to the same place in each.
template <int kCluster>
__device__ __forceinline__ void CopyActivations(void* to, const CUtensorMap& x, int column, int row,
                                                const StageBarrier& barrier) {
  const uint32_t shared = SharedAddress(to);
  if constexpr (kCluster == 1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared),
        "l"(&x), "r"(column), "r"(row), "r"(barrier.Address())
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared),
        "l"(&x), "r"(column), "r"(row), "r"(barrier.Address()),
        "h"(static_cast<uint16_t>((1 << kCluster) - 1))
        : "memory");
  }
}

// The copying warp's: one thread of it.
template <typename Tile>
__device__ __forceinline__ void Produce(const HopperArgs& args, typename Tile::Shared* shared,
                                        int rank, int steps) {
  constexpr int kTileBytes = kWeightTileElements * 2, kShare = Tile::kTokens / Tile::kCluster;
  const int64_t row_bytes = WeightTilesAcross(args.p.inputs) * kTileBytes;
  const int rows = static_cast<int>((args.p.outputs + kWeightTileRows - 1) / kWeightTileRows);
  RingPosition<Tile::kStages> at;
  for (int index = blockIdx.x / Tile::kCluster; index < args.token_tiles * args.output_tiles;
       index += gridDim.x / Tile::kCluster) {
    const HopperWork work = WorkAt<Tile>(args, index);
    const int row =
        static_cast<int>(work.output / kWeightTileRows) + rank * Tile::kOutputs / kWeightTileRows;
    // What is missing of the last tile stays as it is: those sums are not stored.
    const int copied = max(0, min(Tile::kOutputs / kWeightTileRows, rows - row));
    const char* weights = static_cast<const char*>(args.p.weights) + row * row_bytes;
    const int token = static_cast<int>(work.token) + rank * kShare;
    for (int step = 0; step < steps; ++step) {
      auto& stage = shared->stages[at.slot];
      StageBarrier& full = shared->full[at.slot];
      shared->empty[at.slot].Wait(at.parity ^ 1);
      full.ArriveExpecting(copied * kTileBytes + static_cast<int>(sizeof(stage.x)));
      for (int i = 0; i < copied; ++i) {
        CopyBulk(stage.weights + i * kTileBytes, weights + i * row_bytes, kTileBytes, &full);
      }
      CopyActivations<Tile::kCluster>(stage.x + rank * kShare * Tile::kDepth * 2, args.x,
                                      step * Tile::kDepth, token, full);
      weights += kTileBytes;
      at.Advance();
    }
  }
}

// Each warp tells all blocks that fill this slot that it has read it.
template <typename Tile>
__device__ __forceinline__ void Release(StageBarrier* empty) {
  const int lane = threadIdx.x % 32;
  __syncwarp();
  if constexpr (Tile::kCluster == 1) {
    if (lane == 0) empty->Arrive();
  } else {
    if (lane < Tile::kCluster) empty->ArriveAt(lane);
  }
}

// One chain of `steps` stages. Products of one stage run while the next one is waited for.
template <typename Tile, typename T>
__device__ __forceinline__ void MultiplyChain(typename Tile::Shared* shared, int warpgroup,
                                              int steps, RingPosition<Tile::kStages>* at,
                                              float (&sums)[Tile::kTokens / 2]) {
#pragma unroll
  for (int i = 0; i < Tile::kTokens / 2; ++i) sums[i] = 0;
  KeepInPlace(sums);
  StageBarrier* last = nullptr;
  for (int step = 0; step < steps; ++step) {
    auto& stage = shared->stages[at->slot];
    const uint64_t weights = SwizzledMatrix(SharedAddress(stage.weights) +
                                            warpgroup * kWarpgroupOutputs * Tile::kDepth * 2);
    const uint64_t x = SwizzledMatrix(SharedAddress(stage.x));
    shared->full[at->slot].Wait(at->parity);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < Tile::kDepth / 16; ++k) {
      Wgmma<T, Tile::kTokens>(sums, weights + 2 * k, x + 2 * k);
    }
    WgmmaCommit();
    WgmmaWait<1>();
    if (step > 0) Release<Tile>(last);
    last = &shared->empty[at->slot];
    at->Advance();
  }
  WgmmaWait<0>();
  KeepInPlace(sums);
  Release<Tile>(last);
}

template <typename Tile, typename T, bool kGated>
__device__ __forceinline__ void Consume(const HopperArgs& args, typename Tile::Shared* shared,
                                        int rank, int steps) {
  const int warpgroup = threadIdx.x / kWarpgroupThreads;
  float* const staged = shared->staged[warpgroup];
  RingPosition<Tile::kStages> at;
  for (int index = blockIdx.x / Tile::kCluster; index < args.token_tiles * args.output_tiles;
       index += gridDim.x / Tile::kCluster) {
    const HopperWork work = WorkAt<Tile>(args, index);
    SumsPlace place;
    place.output = work.output + rank * Tile::kOutputs + warpgroup * kWarpgroupOutputs;
    place.token = work.token;
    float sums[Tile::kTokens / 2];
    if constexpr (kGated) {
      MultiplyChain<Tile, T>(shared, warpgroup, steps, &at, sums);
      StoreGated<Tile, T>(args, place, sums, warpgroup, staged);
    } else {
      for (int step = 0; step < steps; step += kStepsPerChain) {
        MultiplyChain<Tile, T>(shared, warpgroup, min(kStepsPerChain, steps - step), &at, sums);
        place.first_chain = step == 0;
        place.last_chain = step + kStepsPerChain >= steps;
        StoreSums<Tile>(args.p, place, sums, warpgroup, staged);
      }
    }
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Tile, typename T, bool kGated>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    HopperMatMulKernel(const __grid_constant__ HopperArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) char shared_bytes[];
  auto* const shared = reinterpret_cast<typename Tile::Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      shared->full[i].Init(1);
      shared->empty[i].Init(Tile::kCluster * Tile::kWarpgroups * 4);
    }
    PublishBarriers();
  }
  if (Tile::kCluster > 1) {
    ClusterSync();
  } else {
    __syncthreads();
  }
  const int rank = Tile::kCluster > 1 ? static_cast<int>(ClusterRank()) : 0;
  const int steps = static_cast<int>(WeightTilesAcross(args.p.inputs));
  if (threadIdx.x < kWarpgroupThreads * Tile::kWarpgroups) {
    Consume<Tile, T, kGated>(args, shared, rank, steps);
  } else if (threadIdx.x % 32 == 0) {
    Produce<Tile>(args, shared, rank, steps);
  }
  if (Tile::kCluster > 1) {
    __syncwarp();
    ClusterSync();  // the others may still copy to this block's memory, and arrive at its barriers
  }
#endif
}

int Multiprocessors() {
  static const int count = [] {
    int device = 0, processors = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    return processors;
  }();
  return count;
}

template <typename Tile, typename T, bool kGated>
cudaError_t Launch(const MatMulParams& p, void* inner, cudaStream_t stream) {
  constexpr auto* kKernel = HopperMatMulKernel<Tile, T, kGated>;
  constexpr int kBytes = static_cast<int>(sizeof(typename Tile::Shared));
  static const cudaError_t allowed =
      cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (allowed != cudaSuccess) return allowed;
  HopperArgs args;
  args.p = p;
  args.inner = inner;
  constexpr int kOutputs = Tile::kOutputs * Tile::kCluster;
  args.token_tiles = static_cast<int>((p.num_tokens + Tile::kTokens - 1) / Tile::kTokens);
  args.output_tiles = static_cast<int>((p.outputs + kOutputs - 1) / kOutputs);
  const cudaError_t described =
      DescribeRows(p.x, p.dtype, p.num_tokens, p.inputs, Tile::kTokens / Tile::kCluster, &args.x);
  if (described != cudaSuccess) return described;
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Tile::kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim =
      std::min(args.token_tiles * args.output_tiles, Multiprocessors() / Tile::kCluster) *
      Tile::kCluster;
  config.blockDim = Tile::kThreads;
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kKernel, args);
}

using BigTile = HopperTile<2, 256, 2>;

template <bool kGated>
cudaError_t Dispatch(const MatMulParams& p, void* inner, cudaStream_t stream) {
  if (p.dtype == DType::kBF16) return Launch<BigTile, __nv_bfloat16, kGated>(p, inner, stream);
  return Launch<BigTile, __half, kGated>(p, inner, stream);
}

}  // namespace

bool HasHopper() {
  static const bool has = [] {
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           major == 9;
  }();
  return has;
}

cudaError_t HopperMatMul(const MatMulParams& params, cudaStream_t stream) {
  return Dispatch<false>(params, nullptr, stream);
}

cudaError_t HopperGatedMatMul(const GatedMatMulParams& params, cudaStream_t stream) {
  MatMulParams product;
  product.weights = params.weights;
  product.x = params.x;
  product.bias = params.bias;
  product.dtype = params.dtype;
  product.num_tokens = params.num_tokens;
  product.outputs = 2 * params.intermediate;
  product.inputs = params.inputs;
  return Dispatch<true>(product, params.inner, stream);
}

}  // namespace sieve::cuda
