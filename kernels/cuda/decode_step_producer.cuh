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
  __device__ DecodeStepProducer(const DecodeStepParams& p, const StreamRing& ring,
                                const int* unit_begins)
      : p_(p), ring_(ring), unit_begins_(unit_begins) {}

  __device__ __forceinline__ void Run() {
    const int query_width = p_.num_heads * 64;
    const int qkv_width = query_width + 2 * p_.num_kv_heads * 64;
    for (int layer = 0; layer < p_.num_layers; ++layer) {
      const DecodeStepLayer& w = p_.layers[layer];
      Matrix(w.qkv, qkv_width, p_.hidden);
      Pages(layer);
      Matrix(w.o, p_.hidden, query_width);
      Matrix(w.gate_up, 2 * p_.intermediate, p_.hidden);
      Matrix(w.down, p_.hidden, p_.intermediate);
    }
    Matrix(p_.head, p_.vocabulary, p_.hidden);
  }

 private:
  __device__ __forceinline__ void Matrix(const void* weights, int outputs, int inputs) {
    const MatrixWalk walk(outputs, inputs);
    const Deal deal = dealer_.Take(walk.blocks);
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < deal.count; i += walk.blocks_a_round(ring_.count))
        Round(weights, walk, deal, i);
    }
    __syncwarp();
  }

  // All chains of some blocks, step by step.
  __device__ __forceinline__ void Round(const void* weights, const MatrixWalk& walk,
                                        const Deal& deal, int first) {
    const int blocks = min(walk.blocks_a_round(ring_.count), deal.count - first);
    for (int step = 0; step < walk.steps; ++step) {
      for (int block = 0; block < blocks; ++block) {
        for (int chain = 0; chain < walk.chains; ++chain) {
          const int64_t tile = deal.item(first + block) * walk.block_tiles +
                               (chain * walk.depth + step * kSlotDepth) / kWeightTileDepth;
          ring_.Fill(at_, static_cast<const char*>(weights) + tile * kWeightTileElements * 2,
                     walk.depth_at(step) * kWeightTileRows * 2);
          at_.Advance(1, ring_.count);
        }
      }
    }
  }

  __device__ __forceinline__ void Pages(int layer) {
    const Deal deal = dealer_.Take(unit_begins_[p_.num_tokens]);
    const char* base = p_.kv.base + layer * p_.layer_stride;
    const int most_units = TasksARound(ring_.count);
    for (int i = 0; i < deal.count; i += most_units) {
      const int units = min(most_units, deal.count - i);
      // Lane 8 s + u: page s of unit u.
      const int lane = threadIdx.x % 32, page = lane / kConsumerWarps;
      const char* from = nullptr;
      int pages = 0;
      if (lane % kConsumerWarps < units) {
        const AttentionUnit unit = UnitOf(p_, unit_begins_, deal.item(i + lane % kConsumerWarps));
        pages = unit.pages;
        if (page < pages) {
          const int32_t* table = p_.block_tables + p_.sequences[unit.token] * p_.block_table_stride;
          from = base + table[unit.split * kPagesPerSplit + page] * p_.kv.page_stride +
                 unit.kv_head * p_.kv.head_stride;
        }
      }
      const int steps = __reduce_max_sync(~0u, pages);
      for (int step = 0; step < steps; ++step) {
        for (int unit = 0; unit < units; ++unit) {
          const uint64_t address =
              __shfl_sync(~0u, reinterpret_cast<uint64_t>(from), step * kConsumerWarps + unit);
          if (lane == 0) Page(reinterpret_cast<const char*>(address));
        }
      }
    }
  }

  // Keys and values; null: the unit has no such page.
  __device__ __forceinline__ void Page(const char* from) {
    if (from != nullptr) {
      ring_.Fill(at_, from, kSlotBytes);
    } else {
      ring_.Skip(at_);
    }
    at_.Advance(1, ring_.count);
  }

  const DecodeStepParams& p_;
  const StreamRing ring_;
  const int* const unit_begins_;
  Dealer dealer_;
  StreamPosition at_;  // lane 0's
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PRODUCER_CUH_
