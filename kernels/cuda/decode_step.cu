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

namespace sieve::cuda {
namespace {

static_assert(kConsumers == kNormThreads);
constexpr int kThreads = kConsumers + 32;
constexpr int kHold = 2;  // float4s of a row that a thread of a norm holds
constexpr int kMaxHidden = 4 * kHold * kNormThreads;

struct SharedFixed {
  StageBarrier full[kMaxSlots], empty[kMaxSlots];
  float exchange[kConsumerWarps][32][4];
  float rotations[kMaxDecodeStepTokens][kStepHeadDim];
  float norm_sums[kMaxDecodeStepTokens][kConsumerWarps];
  int unit_begins[kMaxDecodeStepTokens + 1];
  alignas(16) char zeros[16];
};

// Bytes from one token's activations in shared memory to the next's: ldmatrix meets no bank twice.
__host__ __device__ int ActivationStride(const DecodeStepParams& p) {
  const int query_width = p.num_heads * kStepHeadDim;
  int widest = p.hidden > p.intermediate ? p.hidden : p.intermediate;
  if (query_width > widest) widest = query_width;
  return (widest + 8) * 2;
}

// The ring, then what is fixed, then activations (or what merging needs).
struct SharedLayout {
  int slots = 0, fixed = 0, activations = 0;

  __host__ __device__ SharedLayout(const DecodeStepParams& p, int bytes) {
    const int stride_bytes = p.num_tokens * ActivationStride(p);
    const int merge_bytes = static_cast<int>(sizeof(MergeScratch));
    const int other = (static_cast<int>(sizeof(SharedFixed)) + 15) / 16 * 16 +
                      ((stride_bytes > merge_bytes ? stride_bytes : merge_bytes) + 15) / 16 * 16;
    slots = (bytes - other) / kSlotBytes;
    if (slots > kMaxSlots) slots = kMaxSlots;
    fixed = slots * kSlotBytes;
    activations = fixed + (static_cast<int>(sizeof(SharedFixed)) + 15) / 16 * 16;
  }
};

// What the warps that compute do, phase by phase. kTokens: at most so many.
template <typename T, int kTokens>
class Consumer {
 public:
  __device__ Consumer(const DecodeStepParams& p, const StreamRing& ring, SharedFixed* fixed,
                      char* activations, float scale_log2)
      : p_(p),
        fixed_(fixed),
        activations_(activations),
        stride_(ActivationStride(p)),
        scale_log2_(scale_log2),
        barrier_(p.counters) {
    state_.ring = ring;
    state_.exchange = fixed->exchange;
    const int lane = threadIdx.x % 32, token = lane % 8;
    x_ = token < p.num_tokens ? ActivationLane{activations + token * stride_ + lane / 8 * 16, 2}
                              : ActivationLane{fixed->zeros, 0};
  }

  __device__ __forceinline__ void Run() {
    int splits = 0;
    for (int t = 0; t < p_.num_tokens; ++t) splits += SplitsOf(p_.positions[t]);
    const bool merge_everywhere = splits <= kMergeEverywhere;
    for (int layer = 0; layer < p_.num_layers; ++layer) {
      const DecodeStepLayer& w = p_.layers[layer];
      Norm(layer == 0, w.attention_norm);
      Qkv(w);
      GridSync();
      AttendUnits<T>(p_, layer, fixed_->unit_begins, fixed_->rotations[0], scale_log2_, &state_);
      GridSync();
      if (merge_everywhere) {
        MergeAll();
      } else {
        MergeShare<T>(p_, reinterpret_cast<MergeScratch*>(activations_));
        GridSync();
        LoadRows(p_.attention, p_.num_heads * kStepHeadDim);
      }
      AddToResidual(w.o_bias, p_.num_heads * kStepHeadDim);
      GridSync();
      Norm(false, w.mlp_norm);
      GateUp(w);
      GridSync();
      LoadRows(p_.inner, p_.intermediate);
      AddToResidual(w.down_bias, p_.intermediate);
      GridSync();
    }
    Norm(false, p_.final_norm);
    Logits();
    if (threadIdx.x == 0) barrier_.Finish();
  }

 private:
  __device__ __forceinline__ void GridSync() {
    ConsumerSync();
    if (threadIdx.x == 0) barrier_.Sync();
    ConsumerSync();
  }

  __device__ __forceinline__ T* Row(int token) const {
    return reinterpret_cast<T*>(activations_ + token * stride_);
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
  __device__ __forceinline__ void Norm(bool embed, const float* weight) {
    const int tid = threadIdx.x, quads = p_.hidden / 4;
    float4 v[kTokens][kHold], w[kHold];
#pragma unroll
    for (int h = 0; h < kHold; ++h) {
      const int i = tid + h * kNormThreads;
      if (i >= quads) continue;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        if (t < p_.num_tokens) v[t][h] = LoadResidual(embed, t, i);
      }
      w[h] = reinterpret_cast<const float4*>(weight)[i];
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= p_.num_tokens) break;
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
      if (t >= p_.num_tokens) break;
      const float scale = NormScale(fixed_->norm_sums[t], p_.hidden, p_.epsilon);
#pragma unroll
      for (int h = 0; h < kHold; ++h) {
        const int i = tid + h * kNormThreads;
        if (i >= quads) continue;
        const float4 y = Normalize(v[t][h], scale, w[h]);
        reinterpret_cast<uint2*>(Row(t))[i] = make_uint2(Pack<T>(y.x, y.y), Pack<T>(y.z, y.w));
        if (embed && blockIdx.x == t) {
          reinterpret_cast<float4*>(p_.residual + int64_t{t} * p_.hidden)[i] = v[t][h];
        }
      }
    }
    ConsumerSync();
  }

  // Rows [num_tokens, width] of T to shared memory.
  __device__ __forceinline__ void LoadRows(const void* rows, int width) {
    const int chunks = width / 8;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= p_.num_tokens) break;
      const uint4* from = static_cast<const uint4*>(rows) + int64_t{t} * chunks;
#pragma unroll 4
      for (int i = threadIdx.x; i < chunks; i += kConsumers) {
        reinterpret_cast<uint4*>(Row(t))[i] = __ldcg(from + i);
      }
    }
    ConsumerSync();
  }

  // Attention's result to shared memory.
  __device__ __forceinline__ void MergeAll() {
    const int width = p_.num_heads * kStepHeadDim;
    for (int t = 0; t < p_.num_tokens; ++t) {
      const int splits = SplitsOf(p_.positions[t]);
#pragma unroll 4
      for (int i = threadIdx.x; i < width; i += kConsumers) {
        Row(t)[i] = FromFloat<T>(
            MergedElement(PartialOf(p_, t, i / kStepHeadDim), splits, i % kStepHeadDim));
      }
    }
    ConsumerSync();
  }

  __device__ __forceinline__ static float WithBias(const float* bias, int row, float sum) {
    return bias != nullptr ? sum + bias[row] : sum;
  }

  __device__ __forceinline__ void Qkv(const DecodeStepLayer& w) {
    const int width = (p_.num_heads + 2 * p_.num_kv_heads) * kStepHeadDim;
    Product<T>(
        &state_, width, p_.hidden, x_, [](int, float(&)[4]) {},
        [&](int block, const float(&sums)[4]) {
          ForSums(block, p_.num_tokens, [&](int e, int token, int row) {
            p_.qkv[int64_t{token} * width + row] = WithBias(w.qkv_bias, row, sums[e]);
          });
        });
  }

  // Of the attention's and the MLP's output projection, which are alike.
  __device__ __forceinline__ void AddToResidual(const float* bias, int inputs) {
    Product<T>(
        &state_, p_.hidden, inputs, x_,
        [&](int block, float(&sums)[4]) {
          ForSums(block, p_.num_tokens, [&](int e, int token, int row) {
            sums[e] = __ldcg(p_.residual + int64_t{token} * p_.hidden + row);
          });
        },
        [&](int block, const float(&sums)[4]) {
          ForSums(block, p_.num_tokens, [&](int e, int token, int row) {
            p_.residual[int64_t{token} * p_.hidden + row] = WithBias(bias, row, sums[e]);
          });
        });
  }

  // Eight rows of the gate are followed by the eight of up that belong to them.
  __device__ __forceinline__ void GateUp(const DecodeStepLayer& w) {
    T* const inner = static_cast<T*>(p_.inner);
    Product<T>(
        &state_, 2 * p_.intermediate, p_.hidden, x_, [](int, float(&)[4]) {},
        [&](int block, const float(&sums)[4]) {
          ForSums(block, p_.num_tokens, [&](int e, int token, int row) {
            if (e >= 2) return;
            const float gate = WithBias(w.gate_up_bias, row, sums[e]);
            const float up = WithBias(w.gate_up_bias, row + 8, sums[e + 2]);
            inner[int64_t{token} * p_.intermediate + block * 8 + row % 8] =
                FromFloat<T>(SwiGluOf(gate, up));
          });
        });
  }

  __device__ __forceinline__ void Logits() {
    Product<T>(
        &state_, p_.vocabulary, p_.hidden, x_, [](int, float(&)[4]) {},
        [&](int block, const float(&sums)[4]) {
          ForSums(block, p_.num_tokens, [&](int e, int token, int row) {
            if (row < p_.vocabulary) p_.logits[int64_t{token} * p_.vocabulary + row] = sums[e];
          });
        });
  }

  const DecodeStepParams& p_;
  SharedFixed* const fixed_;
  char* const activations_;
  const int stride_;
  const float scale_log2_;
  GridBarrier barrier_;  // the first thread's
  ConsumerState state_;
  ActivationLane x_;
};

// What all warps need before they part.
[[maybe_unused]] __device__ __forceinline__ void SetUp(const DecodeStepParams& p,
                                                       const StreamRing& ring, SharedFixed* fixed) {
  constexpr int kHalf = kStepHeadDim / 2;
  if (threadIdx.x == 0) {
    ring.Init();
    int begin = 0;
    for (int t = 0; t < p.num_tokens; ++t) {
      fixed->unit_begins[t] = begin;
      begin += SplitsOf(p.positions[t]) * p.num_kv_heads;
    }
    fixed->unit_begins[p.num_tokens] = begin;
  }
  if (threadIdx.x < 16) fixed->zeros[threadIdx.x] = 0;
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
  const StreamRing ring = {shared, fixed->full, fixed->empty, layout.slots};
  SetUp(p, ring, fixed);
  if (threadIdx.x >= kConsumers) {
    DecodeStepProducer(p, ring, fixed->unit_begins).Run();
  } else {
    Consumer<T, kTokens>(p, ring, fixed, shared + layout.activations, scale_log2).Run();
  }
#endif
}

struct Chip {
  int major = 0, multiprocessors = 0, shared_bytes = 0;
};

const Chip& ThisChip() {
  static const Chip chip = [] {
    Chip c;
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return c;
    cudaDeviceGetAttribute(&c.major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&c.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&c.shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return c;
  }();
  return chip;
}

bool ProductFits(int inputs) {
  return inputs % 64 == 0 && (inputs <= kChainLength || inputs % kChainLength == 0) &&
         inputs <= 4 * kChainLength;
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
  if (p.num_tokens == 1) return Launch<T, 1>(p, stream);
  if (p.num_tokens == 2) return Launch<T, 2>(p, stream);
  if (p.num_tokens <= 4) return Launch<T, 4>(p, stream);
  return Launch<T, 8>(p, stream);
}

}  // namespace

bool DecodeStepSupports(const DecodeStepParams& p) {
  return ThisChip().major == 9 && (p.dtype == DType::kBF16 || p.dtype == DType::kF16) &&
         p.kv.head_dim == kStepHeadDim && p.num_heads / p.num_kv_heads <= 16 &&
         p.hidden <= kMaxHidden && ProductFits(p.hidden) && ProductFits(p.intermediate) &&
         ProductFits(p.num_heads * kStepHeadDim) && p.max_splits <= kMaxMergedSplits &&
         p.num_tokens >= 1 && p.num_tokens <= kMaxDecodeStepTokens &&
         SharedLayout(p, ThisChip().shared_bytes).slots >= 4;
}

cudaError_t DecodeStep(const DecodeStepParams& params, cudaStream_t stream) {
  if (!DecodeStepSupports(params)) return cudaErrorInvalidValue;
  return params.dtype == DType::kBF16 ? LaunchTokens<__nv_bfloat16>(params, stream)
                                      : LaunchTokens<__half>(params, stream);
}

}  // namespace sieve::cuda
