#include <algorithm>
#include <cmath>

#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/decode_step_attention.cuh"
#include "kernels/cuda/decode_step_merge.cuh"
#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/decode_step_producer.cuh"
#include "kernels/cuda/decode_step_products.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/grid_barrier.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {
namespace {

static_assert(kConsumers == kNormThreads);
constexpr int kThreads = kConsumers + 32;  // one warp copies
constexpr int kHold = 2;                   // float4s of a row that a thread of a norm holds
constexpr int kMaxHidden = 4 * kHold * kNormThreads;

struct SharedFixed {
  StageBarrier full[kMaxSlots], empty[kMaxSlots];
  StepPlan plan;
  float4 exchange[kGroupWarps][32];
  float rotations[kMaxDecodeStepTokens][kStepHeadDim];
  float norm_sums[kMaxDecodeStepTokens][kConsumerWarps];
};

// Bytes from one token's activations in shared memory to the next's: ldmatrix meets no bank twice.
__host__ __device__ int ActivationStride(const DecodeStepParams& p) {
  const int query_width = p.num_heads * kStepHeadDim;
  int widest = p.hidden > p.intermediate ? p.hidden : p.intermediate;
  if (query_width > widest) widest = query_width;
  return (widest + 8) * 2;
}

// The part of shared memory that a phase uses as it needs.
union SharedScratch {
  char activations[16];  // [num_tokens, ActivationStride]
  GroupScratch attention[2];
  MergeScratch merge;
};

__host__ __device__ constexpr int Aligned(int64_t bytes) {
  return static_cast<int>((bytes + 127) / 128 * 128);
}

// The ring, then what is fixed, the layers' weights, scratch.
struct SharedLayout {
  int slots = 0, fixed = 0, layers = 0, scratch = 0;

  __host__ __device__ SharedLayout(const DecodeStepParams& p, int bytes) {
    const int activations = Aligned(int64_t{p.num_tokens} * ActivationStride(p));
    const int queries = p.num_tokens * p.num_heads * kQueryStride * 2;  // behind the scratch
    const int other = Aligned(sizeof(SharedScratch) + queries);
    const int layer_bytes = Aligned(int64_t{p.num_layers} * sizeof(DecodeStepLayer));
    slots = (bytes - Aligned(sizeof(SharedFixed)) - layer_bytes -
             (activations > other ? activations : other)) /
            kSlotBytes;
    if (slots > kMaxSlots) slots = kMaxSlots;
    fixed = slots * kSlotBytes;
    layers = fixed + Aligned(sizeof(SharedFixed));
    scratch = layers + layer_bytes;
  }
};

// A thread's weights of a norm, read before they are needed.
struct NormWeight {
  float4 w[kHold];
};

// What the warps that compute do, phase by phase. kTokens: so many.
template <typename T, int kTokens>
class Consumer {
 public:
  __device__ Consumer(const DecodeStepParams& p, const DecodeStepLayer* layers,
                      const StreamRing& ring, SharedFixed* fixed, SharedScratch* scratch,
                      float scale_log2)
      : p_(p),
        layers_(layers),
        plan_(fixed->plan),
        fixed_(fixed),
        scratch_(scratch),
        stride_(ActivationStride(p)),
        scale_log2_(scale_log2),
        barrier_(p.counters) {
    state_.ring = ring;
    state_.exchange = fixed->exchange;
    addresses_ = AddressesOf(scratch->activations, stride_, p.num_tokens);
  }

  // Phase by phase: the activations of a product, the product, a barrier. One loop for all, since
  // the instructions of a product are many.
  __device__ __forceinline__ void Run() {
    NormWeight norm = Weight(layers_[0].attention_norm);
    int layer = 0;
    for (Phase phase = kQkv;; phase = Next(phase, &layer)) {
      if (phase == kOutput) {
        Attend(layer);
      } else if (phase == kDown) {
        LoadRows(p_.inner, p_.intermediate);
      } else {
        Norm(layer == 0 && phase == kQkv, norm);
      }
      Project(layers_[layer], phase);
      if (phase == kHead) break;
      if (phase == kOutput) norm = Weight(layers_[layer].mlp_norm);
      if (phase == kDown) norm = Weight(NormAfter(layer));
      GridSync();
    }
    if (threadIdx.x == 0) barrier_.Finish();
  }

 private:
  // The phase after `phase`, and its layer.
  __device__ __forceinline__ Phase Next(Phase phase, int* layer) const {
    if (phase != kDown) return static_cast<Phase>(phase + 1);
    if (*layer + 1 == p_.num_layers) return kHead;
    ++*layer;
    return kQkv;
  }
  __device__ __forceinline__ const float* NormAfter(int layer) const {
    return layer + 1 < p_.num_layers ? layers_[layer + 1].attention_norm : p_.final_norm;
  }

  __device__ __forceinline__ void GridSync() {
    ConsumerSync();
    if (threadIdx.x == 0) barrier_.Sync();
    ConsumerSync();
    state_.at.since = 0;
  }

  // Where element k of a token's activations is.
  __device__ __forceinline__ T* Activation(int token, int k) const {
    return reinterpret_cast<T*>(scratch_->activations + token * stride_) + k;
  }

  __device__ __forceinline__ NormWeight Weight(const float* weight) const {
    NormWeight norm;
#pragma unroll
    for (int h = 0; h < kHold; ++h) {
      const int i = static_cast<int>(threadIdx.x) + h * kNormThreads;
      if (4 * i < p_.hidden) norm.w[h] = reinterpret_cast<const float4*>(weight)[i];
    }
    return norm;
  }

  // Four neighbours of the residual stream; in the first layer, of the embedding.
  __device__ __forceinline__ float4 LoadResidual(bool embed, int token, int i) const {
    if (!embed) {
      return __ldcg(reinterpret_cast<const float4*>(p_.residual + int64_t{token} * p_.hidden) + i);
    }
    const T* at =
        static_cast<const T*>(p_.embedding) + TiledOffset(p_.tokens[token], 4 * i, p_.hidden);
    return make_float4(ToFloat(at[0]), ToFloat(at[1]), ToFloat(at[2]), ToFloat(at[3]));
  }

  // Normalised rows of the residual stream to shared memory.
  __device__ __forceinline__ void Norm(bool embed, const NormWeight& weight) {
    const int tid = threadIdx.x, quads = p_.hidden / 4;
    float4 v[kTokens][kHold];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int h = 0; h < kHold; ++h) {
        const int i = tid + h * kNormThreads;
        if (i < quads) v[t][h] = LoadResidual(embed, t, i);
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float squares = 0;
#pragma unroll
      for (int h = 0; h < kHold; ++h) {
        if (tid + h * kNormThreads < quads) squares = AddSquares(squares, v[t][h]);
      }
      squares = WarpSum(squares);
      if (tid % 32 == 0) fixed_->norm_sums[t][tid / 32] = squares;
    }
    ConsumerSync();
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float scale = NormScale(fixed_->norm_sums[t], p_.hidden, p_.epsilon);
#pragma unroll
      for (int h = 0; h < kHold; ++h) {
        const int i = tid + h * kNormThreads;
        if (i >= quads) continue;
        const float4 y = Normalize(v[t][h], scale, weight.w[h]);
        *reinterpret_cast<uint2*>(Activation(t, 4 * i)) =
            make_uint2(Pack<T>(y.x, y.y), Pack<T>(y.z, y.w));
        if (embed && blockIdx.x == t) {
          reinterpret_cast<float4*>(p_.residual + int64_t{t} * p_.hidden)[i] = v[t][h];
        }
      }
    }
    ConsumerSync();
  }

  // Rows [num_tokens, width] of T to shared memory.
  __device__ __forceinline__ void LoadRows(const void* rows, int width) {
    constexpr int kAhead = 4;
    const int chunks = width / 8;
    for (int t = 0; t < kTokens; ++t) {
      const uint4* from = static_cast<const uint4*>(rows) + int64_t{t} * chunks;
      for (int begin = threadIdx.x; begin < chunks; begin += kAhead * kConsumers) {
        uint4 v[kAhead];
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          const int i = begin + a * kConsumers;
          if (i < chunks) v[a] = __ldcg(from + i);
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          const int i = begin + a * kConsumers;
          if (i < chunks) *reinterpret_cast<uint4*>(Activation(t, 8 * i)) = v[a];
        }
      }
    }
    ConsumerSync();
  }

  // Attention's result to shared memory.
  __device__ __forceinline__ void Attend(int layer) {
    AttendUnits<T>(p_, plan_, layer, fixed_->rotations[0], scale_log2_,
                   reinterpret_cast<T*>(scratch_ + 1), scratch_->attention, &state_);
    GridSync();
    if (plan_.splits <= kMergeEverywhere) {
      MergeAll();
    } else {
      MergeShare<T>(p_, plan_, &scratch_->merge);
      GridSync();
      LoadRows(p_.attention, p_.num_heads * kStepHeadDim);
    }
  }

  // A warp a head, a lane two neighbouring elements.
  __device__ __forceinline__ void MergeAll() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int t = 0; t < kTokens; ++t) {
      for (int head = warp; head < p_.num_heads; head += 4 * kConsumerWarps) {
        float2 out[4];
        MergeHeads<4>(p_, t, head, kConsumerWarps, SplitsOf(plan_.positions[t]), out);
#pragma unroll
        for (int h = 0; h < 4; ++h) {
          const int at = (head + h * kConsumerWarps) * kStepHeadDim + 2 * lane;
          if (head + h * kConsumerWarps >= p_.num_heads) break;
          *reinterpret_cast<uint32_t*>(Activation(t, at)) = Pack<T>(out[h].x, out[h].y);
        }
      }
    }
    ConsumerSync();
  }

  __device__ __forceinline__ static float WithBias(const float* bias, int row, float sum) {
    return bias != nullptr ? sum + bias[row] : sum;
  }

  // Where a product's result goes.
  struct Target {
    float* y = nullptr;  // [num_tokens, width]
    int width = 0;
    const float* bias = nullptr;
  };
  __device__ __forceinline__ Target TargetOf(const DecodeStepLayer& w, Phase phase) const {
    switch (phase) {
      case kQkv:
        return {p_.qkv, (p_.num_heads + 2 * p_.num_kv_heads) * kStepHeadDim, w.qkv_bias};
      case kGateUp:
        return {nullptr, 2 * p_.intermediate, w.gate_up_bias};
      case kHead:
        return {p_.logits, p_.vocabulary, nullptr};
      default:
        return {p_.residual, p_.hidden, phase == kOutput ? w.o_bias : w.down_bias};
    }
  }

  // The block's share of a product.
  __device__ __forceinline__ void Project(const DecodeStepLayer& w, Phase phase) {
    const Target target = TargetOf(w, phase);
    const bool add = phase == kOutput || phase == kDown;
    T* const inner = static_cast<T*>(p_.inner);
    Product<T>(
        &state_, plan_.phases[phase], addresses_,
        [&](int item, float(&sums)[4]) {
          if (!add) return;
          ForSums(item, kTokens, [&](int e, int token, int row) {
            sums[e] = __ldcg(target.y + int64_t{token} * target.width + row);
          });
        },
        [&](int item, const float(&sums)[4]) {
          ForSums(item, kTokens, [&](int e, int token, int row) {
            if (phase != kGateUp) {
              if (row >= target.width) return;
              target.y[int64_t{token} * target.width + row] = WithBias(target.bias, row, sums[e]);
            } else if (e < 2) {
              // Eight rows of the gate are followed by the eight of up that belong to them.
              inner[int64_t{token} * p_.intermediate + item * 8 + row % 8] =
                  FromFloat<T>(SwiGluOf(WithBias(target.bias, row, sums[e]),
                                        WithBias(target.bias, row + 8, sums[e + 2])));
            }
          });
        });
  }

  const DecodeStepParams& p_;
  const DecodeStepLayer* const layers_;
  const StepPlan& plan_;
  SharedFixed* const fixed_;
  SharedScratch* const scratch_;
  const int stride_;  // of activations
  const float scale_log2_;
  GridBarrier barrier_;  // the first thread's
  ConsumerState state_;
  LaneAddresses addresses_;
};

// By one thread.
[[maybe_unused]] __device__ __forceinline__ void MakePlan(const DecodeStepParams& p, int ring_slots,
                                                          StepPlan* plan) {
  const int query_width = p.num_heads * kStepHeadDim;
  const int qkv_width = query_width + 2 * p.num_kv_heads * kStepHeadDim;
  plan->phases[kQkv] = PlanProduct(qkv_width, p.hidden, ring_slots);
  plan->phases[kOutput] = PlanProduct(p.hidden, query_width, ring_slots);
  plan->phases[kGateUp] = PlanProduct(2 * p.intermediate, p.hidden, ring_slots);
  plan->phases[kDown] = PlanProduct(p.hidden, p.intermediate, ring_slots);
  plan->phases[kHead] = PlanProduct(p.vocabulary, p.hidden, ring_slots);
  int units = 0;
  for (int t = 0; t < p.num_tokens; ++t) {
    const int position = p.positions[t], splits = SplitsOf(position);
    plan->positions[t] = position;
    plan->newest_pages[t] =
        p.block_tables[p.sequences[t] * p.block_table_stride + position / kPageTokens];
    plan->unit_begins[t] = units;
    units += splits * p.num_kv_heads;
  }
  plan->unit_begins[p.num_tokens] = units;
  plan->splits = units / p.num_kv_heads;
  plan->phases[kAttend] = PlanItems(units);
}

// What all warps need before they part.
[[maybe_unused]] __device__ __forceinline__ void SetUp(const DecodeStepParams& p,
                                                       const StreamRing& ring, SharedFixed* fixed,
                                                       DecodeStepLayer* layers) {
  constexpr int kHalf = kStepHeadDim / 2, kWords = sizeof(DecodeStepLayer) / 8;
  if (threadIdx.x == 0) ring.Init();
  if (threadIdx.x == 32) MakePlan(p, ring.count, &fixed->plan);
  for (int i = threadIdx.x; i < p.num_layers * kWords; i += kThreads) {
    reinterpret_cast<uint64_t*>(layers)[i] = reinterpret_cast<const uint64_t*>(p.layers)[i];
  }
  for (int i = threadIdx.x; i < p.num_tokens * kHalf; i += kThreads) {
    const float angle = static_cast<float>(p.positions[i / kHalf]) * p.frequencies[i % kHalf];
    fixed->rotations[i / kHalf][i % kHalf] = cosf(angle);
    fixed->rotations[i / kHalf][i % kHalf + kHalf] = sinf(angle);
  }
  __syncthreads();
}

template <typename T, int kTokens>
__global__ void __launch_bounds__(kThreads, 1)
    DecodeStepKernel(const __grid_constant__ DecodeStepParams p, float scale_log2,
                     int shared_bytes) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(1024) char shared[];
  const SharedLayout layout(p, shared_bytes);
  auto* const fixed = reinterpret_cast<SharedFixed*>(shared + layout.fixed);
  auto* const layers = reinterpret_cast<DecodeStepLayer*>(shared + layout.layers);
  const StreamRing ring = {shared, fixed->full, fixed->empty, layout.slots};
  SetUp(p, ring, fixed, layers);
  if (threadIdx.x >= kConsumers) {
    DecodeStepProducer(p, layers, fixed->plan, ring).Run();
  } else {
    Consumer<T, kTokens>(p, layers, ring, fixed,
                         reinterpret_cast<SharedScratch*>(shared + layout.scratch), scale_log2)
        .Run();
  }
#endif
}

bool ProductFits(int inputs) {
  return inputs % 64 == 0 && (inputs <= kChainLength || inputs == 2 * kChainLength);
}

template <typename T, int kTokens>
cudaError_t Launch(DecodeStepParams p, cudaStream_t stream) {
  int shared_bytes = ThisChip().shared_bytes;
  static const cudaError_t allowed = cudaFuncSetAttribute(
      DecodeStepKernel<T, kTokens>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (allowed != cudaSuccess) return allowed;
  float scale_log2 = p.scale * static_cast<float>(M_LOG2E);
  void* arguments[] = {&p, &scale_log2, &shared_bytes};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(DecodeStepKernel<T, kTokens>),
                                     dim3(ThisChip().multiprocessors), dim3(kThreads), arguments,
                                     shared_bytes, stream);
}

template <typename T>
cudaError_t LaunchTokens(const DecodeStepParams& p, cudaStream_t stream) {
  static_assert(kMaxDecodeStepTokens == 2);
  return p.num_tokens == 1 ? Launch<T, 1>(p, stream) : Launch<T, 2>(p, stream);
}

}  // namespace

bool DecodeStepSupports(const DecodeStepParams& p) {
  return ThisChip().is_hopper() && (p.dtype == DType::kBF16 || p.dtype == DType::kF16) &&
         p.kv.head_dim == kStepHeadDim && p.num_heads / p.num_kv_heads <= 16 &&
         p.hidden <= kMaxHidden && ProductFits(p.hidden) && ProductFits(p.intermediate) &&
         ProductFits(p.num_heads * kStepHeadDim) && p.max_splits <= kMaxMergedSplits &&
         p.num_tokens >= 1 && p.num_tokens <= kMaxDecodeStepTokens &&
         SharedLayout(p, ThisChip().shared_bytes).slots >= kConsumerWarps;
}

cudaError_t DecodeStep(const DecodeStepParams& params, cudaStream_t stream) {
  if (!DecodeStepSupports(params)) return cudaErrorInvalidValue;
  return params.dtype == DType::kBF16 ? LaunchTokens<__nv_bfloat16>(params, stream)
                                      : LaunchTokens<__half>(params, stream);
}

}  // namespace sieve::cuda
