// Products on Hopper: two threads have weights and activations copied through a ring of stages in
// shared memory, and two warpgroups multiply. A block stays for many tiles; one tile's sums are
// stored under the products of the next. The weights, which no kernel writes, begin to come while
// the kernel before still runs.

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/hopper_bulk_store.cuh"
#include "kernels/cuda/hopper_head_store.cuh"
#include "kernels/cuda/hopper_matmul.h"
#include "kernels/cuda/hopper_plan.h"
#include "kernels/cuda/hopper_store.cuh"
#include "kernels/cuda/hopper_tile.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/this_chip.h"
#include "kernels/cuda/wgmma.cuh"

namespace sieve::cuda {
namespace {

// What becomes of the sums: they are stored or added, or are gates and ups, or heads to rotate.
enum class Result { kSums, kGated, kHeads };

// Where other results than sums go.
struct Destination {
  void* inner = nullptr;
  RopeAndStoreParams rope;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ __forceinline__ void CopyWeights(void* to, const CUtensorMap& weights, int step,
                                            int output, const StageBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(SharedAddress(to)),
      "l"(&weights), "r"(0), "r"(4 * step), "r"(output / kWeightTileRows), "r"(barrier.Address())
      : "memory");
}

__device__ __forceinline__ void CopyActivations(void* to, const CUtensorMap& x, int step, int token,
                                                const StageBarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(SharedAddress(to)),
      "l"(&x), "r"(step * kWeightTileDepth), "r"(token), "r"(barrier.Address())
      : "memory");
}

// A copying warp's: one thread of it fills each stage's weights, or activations.
template <typename Tile, bool kWeights>
__device__ __forceinline__ void Produce(const HopperArgs& args, typename Tile::Shared* shared) {
  RingPosition<Tile::kStages> at;
  ForTurns(args, [&](int, int tile, int first_step, int steps, bool) {
    const TilePlace place = PlaceOf<Tile>(args, tile);
    const int output = static_cast<int>(place.output), token = static_cast<int>(place.token);
#pragma unroll 1
    for (int step = first_step; step < first_step + steps; ++step) {
      auto& stage = shared->stages[at.slot];
      StageBarrier& full = shared->full[at.slot];
      shared->empty[at.slot].Wait(at.parity ^ 1);
      if constexpr (kWeights) {
        full.ArriveExpecting(sizeof(stage.weights));
        CopyWeights(stage.weights, args.weights, step, output, full);
      } else {
        full.ArriveExpecting(sizeof(stage.x));
        CopyActivations(stage.x, args.x, step, token, full);
      }
      at.Advance();
    }
  });
}

// A warp has read a stage.
__device__ __forceinline__ void Release(StageBarrier* empty) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) empty->Arrive();
}

// The products of one chain of `steps` stages are begun; those of the last stage may still run.
// Returns that stage's barrier.
template <typename Tile, typename T>
__device__ __forceinline__ StageBarrier* BeginChain(typename Tile::Shared* shared, int steps,
                                                    RingPosition<Tile::kStages>* at,
                                                    typename Tile::Sums& sums) {
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
#pragma unroll
    for (int i = 0; i < Tile::kTokens / 2; ++i) sums[band][i] = 0;
    KeepInPlace(sums[band]);
  }
  StageBarrier* last = nullptr;
  for (int step = 0; step < steps; ++step) {
    auto& stage = shared->stages[at->slot];
    const uint64_t weights = SwizzledMatrix(SharedAddress(stage.weights));
    const uint64_t x = SwizzledMatrix(SharedAddress(stage.x));
    shared->full[at->slot].Wait(at->parity);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < Tile::kDepth / 16; ++k) {
#pragma unroll
      for (int band = 0; band < Tile::kBands; ++band) {
        constexpr int kBand = kBandOutputs * Tile::kDepth * 2 / 16;  // in a descriptor
        Wgmma<T, Tile::kTokens>(sums[band], weights + band * kBand + 2 * k, x + 2 * k);
      }
    }
    WgmmaCommit();
    WgmmaWait<1>();
    if (step > 0) Release(last);
    last = &shared->empty[at->slot];
    at->Advance();
  }
  return last;
}

// A warpgroup's.
template <typename Tile, typename T, Result kResult>
__device__ __forceinline__ void Consume(const HopperArgs& args, typename Tile::Shared* shared) {
  constexpr bool kGated = kResult == Result::kGated;
  const int warpgroup = threadIdx.x / kWarpgroupThreads;
  RingPosition<Tile::kStages> at;
  uint32_t turn = 0;
  ForTurns(args, [&](int whose, int tile, int first_step, int steps, bool follows_other) {
    if (whose != warpgroup) {
      at.Advance(steps);
      return;
    }
    const TilePlace place = PlaceOf<Tile>(args, tile);
    const ChainPlace chain = {first_step == 0, first_step + steps == args.steps()};
    if (!kGated && !args.stores_in_bulk && AddsToY(args.p, chain)) PrefetchY<Tile>(args.p, place);
    // `full` tells only odd from even uses: a warpgroup that waits for a stage while the other one
    // has the ring to itself would take an earlier use for its own.
    if (follows_other) {
      shared->turn[warpgroup].Wait(turn);
      turn ^= 1;
    }
    typename Tile::Sums sums;
    StageBarrier* const last = BeginChain<Tile, T>(shared, steps, &at, sums);
    shared->turn[1 - warpgroup].Arrive();
    WgmmaWait<0>();
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) KeepInPlace(sums[band]);
    Release(last);
    char* const stored = shared->stored[warpgroup];
    if constexpr (kResult == Result::kHeads) {
      StoreHeads<Tile, T>(args, place, sums, warpgroup, stored);
      return;
    }
    if constexpr (Tile::kIsLarge) {
      if (args.stores_in_bulk) {
        if constexpr (kGated) {
          StoreGatedInBulk<Tile, T>(args, place, sums, warpgroup, stored);
        } else {
          StoreSumsInBulk<Tile>(args, place, chain, sums, warpgroup, stored);
        }
        return;
      }
    }
    float* const floats = reinterpret_cast<float*>(stored);
    if constexpr (kGated) {
      StoreGated<Tile, T>(args, place, sums, warpgroup, floats);
    } else {
      if (args.splits_chains && !chain.is_first) {  // after the other block
        ClusterArrive();
        ClusterWait();
      }
      StoreSums<Tile>(args.p, place, chain, sums, warpgroup, floats);
    }
  });
  if (args.stores_in_bulk && StoresBoxes()) WaitUntilStored();
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename Tile, typename T, Result kResult>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    HopperMatMulKernel(const __grid_constant__ HopperArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) char shared_bytes[];
  auto* const shared = reinterpret_cast<typename Tile::Shared*>(shared_bytes);
  LetNextBegin();
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      shared->full[i].Init(2);
      shared->empty[i].Init(kWarpgroupThreads / 32);
    }
    for (StageBarrier& turn : shared->turn) turn.Init(kWarpgroupThreads);
    PublishBarriers();
  }
  __syncthreads();
  constexpr int kProducers = kWarpgroupThreads * kWarpgroups;
  if constexpr (Tile::kIsLarge) {
    if (threadIdx.x < kProducers) {
      RaiseRegisters<232>();
    } else {
      LowerRegisters<40>();
    }
  }
  if (threadIdx.x < kProducers) {
    WaitForPrevious();
    Consume<Tile, T, kResult>(args, shared);
  } else if (threadIdx.x == kProducers) {
    Produce<Tile, true>(args, shared);
  } else if (threadIdx.x == kProducers + 32) {
    WaitForPrevious();
    Produce<Tile, false>(args, shared);
  }
  // Who stores the first chain of a tile arrives here after that; who stores the second one has.
  const bool stores = threadIdx.x < kWarpgroupThreads;
  if (args.splits_chains && !(stores && blockIdx.x % 2 == 1)) {
    ClusterArrive();
    ClusterWait();
  }
#endif
}

template <typename Tile, typename T, Result kResult>
cudaError_t Launch(const MatMulParams& p, const Destination& out, bool splits_chains,
                   cudaStream_t stream) {
  constexpr bool kGated = kResult == Result::kGated;
  constexpr auto* kKernel = HopperMatMulKernel<Tile, T, kResult>;
  constexpr int kBytes = static_cast<int>(sizeof(typename Tile::Shared));
  static const cudaError_t allowed =
      cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (allowed != cudaSuccess) return allowed;
  HopperArgs args;
  args.p = p;
  args.inner = out.inner;
  args.rope = out.rope;
  args.token_tiles = static_cast<int>((p.num_tokens + Tile::kTokens - 1) / Tile::kTokens);
  args.output_tiles = static_cast<int>((p.outputs + Tile::kOutputs - 1) / Tile::kOutputs);
  args.splits_chains = splits_chains;
  cudaError_t error = DescribeRows(p.x, p.dtype, p.num_tokens, p.inputs, Tile::kTokens, &args.x);
  if (error != cudaSuccess) return error;
  error = DescribeWeights(p.weights, p.dtype, p.outputs, p.inputs, Tile::kOutputs / kWeightTileRows,
                          &args.weights);
  if (error != cudaSuccess) return error;
  if (Tile::kIsLarge && kResult != Result::kHeads && !splits_chains &&
      (kGated || (p.bias == nullptr && p.outputs % 4 == 0))) {
    args.stores_in_bulk = true;
    error =
        kGated ? DescribeRows(out.inner, p.dtype, p.num_tokens, p.outputs / 2, Tile::kTokens,
                              &args.result)
               : DescribeRows(p.y, DType::kF32, p.num_tokens, p.outputs, kBulkTokens, &args.result);
    if (error != cudaSuccess) return error;
  }
  const int tiles = args.token_tiles * args.output_tiles;
  LaunchShape shape;
  shape.grid = splits_chains ? 2 * tiles : std::min(tiles, ThisChip().multiprocessors);
  shape.block = Tile::kThreads;
  shape.shared_bytes = kBytes;
  shape.cluster_blocks = splits_chains ? 2 : 1;
  shape.is_long = p.num_tokens > kMostDependent;
  return LaunchDependent(kKernel, shape, stream, args);
}

template <typename T, Result kResult>
cudaError_t LaunchPlan(const MatMulParams& p, const Destination& out, cudaStream_t stream) {
  const HopperPlan plan = PlanHopperMatMul(p.num_tokens, p.outputs, p.inputs,
                                           ThisChip().multiprocessors, kResult == Result::kSums);
  const auto with_tokens = [&](auto bands) {
    constexpr int kBands = decltype(bands)::value;
    const auto launch = [&](auto tokens) {
      using Tile = HopperTile<kBands, decltype(tokens)::value>;
      return Launch<Tile, T, kResult>(p, out, plan.splits_chains, stream);
    };
    if (plan.tokens == 16) return launch(std::integral_constant<int, 16>{});
    if (plan.tokens == 32) return launch(std::integral_constant<int, 32>{});
    if (plan.tokens == 64) return launch(std::integral_constant<int, 64>{});
    return launch(std::integral_constant<int, 128>{});
  };
  if (plan.bands == 1) return with_tokens(std::integral_constant<int, 1>{});
  return with_tokens(std::integral_constant<int, 2>{});
}

template <Result kResult>
cudaError_t Dispatch(const MatMulParams& p, const Destination& out, cudaStream_t stream) {
  if (p.dtype == DType::kBF16) return LaunchPlan<__nv_bfloat16, kResult>(p, out, stream);
  return LaunchPlan<__half, kResult>(p, out, stream);
}

}  // namespace

bool HopperHeadsSupport(const MatMulParams& params, const RopeAndStoreParams& rope) {
  // Fewer are faster with more and smaller tiles.
  constexpr int64_t kFewestTokens = 1024;
  return params.num_tokens >= kFewestTokens && params.inputs <= kChainLength &&
         rope.kv.head_dim == kBandOutputs && rope.kv.dtype == params.dtype && !rope.interleaved;
}

cudaError_t HopperHeads(const MatMulParams& params, const RopeAndStoreParams& rope,
                        cudaStream_t stream) {
  const Destination out = {.inner = nullptr, .rope = rope};
  using Tile = HopperTile<2, 128>;
  if (params.dtype == DType::kBF16) {
    return Launch<Tile, __nv_bfloat16, Result::kHeads>(params, out, false, stream);
  }
  return Launch<Tile, __half, Result::kHeads>(params, out, false, stream);
}

cudaError_t HopperMatMul(const MatMulParams& params, cudaStream_t stream) {
  return Dispatch<Result::kSums>(params, {}, stream);
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
  return Dispatch<Result::kGated>(product, {.inner = params.inner, .rope = {}}, stream);
}

}  // namespace sieve::cuda
