#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCER_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCER_CUH_

// The warp that keeps a decoding step's ring full. It waits for free slots and for nothing else:
// what it reads was there before the step. (The newest token's keys and values are put into their
// page by the warp that reads it.)

#include <cstdint>

#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/weight_stream.cuh"

namespace sieve::cuda {

class DecodeStepProducer {
 public:
  __device__ DecodeStepProducer(const DecodeStepParams& p, const DecodeStepLayer* layers,
                                const StepPlan& plan, const StreamRing& ring)
      : p_(p), layers_(layers), plan_(plan), ring_(ring) {}

  __device__ __forceinline__ void Run() {
    for (int layer = 0; layer < p_.num_layers; ++layer) {
      const DecodeStepLayer& w = layers_[layer];
      Matrix(w.qkv, plan_.phases[kQkv]);
      Pages(layer);
      Matrix(w.o, plan_.phases[kOutput]);
      Matrix(w.gate_up, plan_.phases[kGateUp]);
      Matrix(w.down, plan_.phases[kDown]);
    }
    Matrix(p_.head, plan_.phases[kHead]);
  }

 private:
  __device__ __forceinline__ void Matrix(const void* weights, const PhasePlan& plan) {
    const Deal deal = dealer_.Take(plan);
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < deal.count; i += plan.items_a_round) Round(weights, plan, deal, i);
    }
    __syncwarp();
  }

  // All chains of some items, step by step.
  __device__ __forceinline__ void Round(const void* weights, const PhasePlan& plan,
                                        const Deal& deal, int first) {
    const int items = min(plan.items_a_round, deal.count - first);
    for (int step = 0; step < plan.steps; ++step) {
      const int bytes = min(kSlotDepth, plan.depth - step * kSlotDepth) * kWeightTileRows * 2;
      for (int item = 0; item < items; ++item) {
        for (int chain = 0; chain < plan.chains; ++chain) {
          const int64_t tile = int64_t{deal.item(first + item)} * plan.tiles_an_item +
                               (chain * plan.depth + step * kSlotDepth) / kWeightTileDepth;
          Fill(static_cast<const char*>(weights) + tile * kWeightTileElements * 2, bytes);
        }
      }
    }
  }

  // Unit after unit, page after page.
  __device__ __forceinline__ void Pages(int layer) {
    const Deal deal = dealer_.Take(plan_.phases[kAttend]);
    const char* base = p_.kv.base + layer * p_.layer_stride;
    // Lane 4 u + s: page s of unit u.
    constexpr int kUnits = 32 / kPagesPerSplit;
    const int lane = threadIdx.x % 32, page = lane % kPagesPerSplit;
    for (int i = 0; i < deal.count; i += kUnits) {
      const char* from = nullptr;
      if (i + lane / kPagesPerSplit < deal.count) {
        const AttentionUnit unit =
            UnitOf(plan_, p_.num_kv_heads, deal.item(i + lane / kPagesPerSplit));
        if (page < unit.pages) {
          const int32_t* table = p_.block_tables + p_.sequences[unit.token] * p_.block_table_stride;
          from = base + table[unit.split * kPagesPerSplit + page] * p_.kv.page_stride +
                 unit.kv_head * p_.kv.head_stride;
        }
      }
      for (uint32_t pages = __ballot_sync(~0u, from != nullptr); pages != 0; pages &= pages - 1) {
        const uint64_t address =
            __shfl_sync(~0u, reinterpret_cast<uint64_t>(from), __ffs(static_cast<int>(pages)) - 1);
        if (lane == 0) Fill(reinterpret_cast<const char*>(address), kSlotBytes);
      }
    }
  }

  __device__ __forceinline__ void Fill(const char* from, int bytes) {
    ring_.Fill(at_, from, bytes);
    at_.Advance(1, ring_.count);
  }

  const DecodeStepParams& p_;
  const DecodeStepLayer* const layers_;
  const StepPlan& plan_;
  const StreamRing ring_;
  Dealer dealer_;
  StreamPosition at_;  // lane 0's
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCER_CUH_
