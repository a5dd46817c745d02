#include <algorithm>

#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/block_scores.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/index_scores.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kBlocksPerThreadBlock = 16;

// One block's summary, and a warp that reads it: lane i has elements i, i + 32, ...
template <typename T, int kParts>
class Summary {
 public:
  __device__ Summary(const SummaryLayout& layout, const char* base) : l_(layout), base_(base) {}

  // A row of d values.
  __device__ void Load(int64_t part, int row, float (&x)[kParts]) const {
    const int d = static_cast<int>(l_.head_dim);
    const T* const values = reinterpret_cast<const T*>(base_ + part) + row * d;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int e = threadIdx.x % 32 + 32 * i;
      x[i] = e < d ? ToFloat(values[e]) : 0;
    }
  }
  __device__ float Float(int64_t part, int i) const {
    return reinterpret_cast<const float*>(base_ + part)[i];
  }
  __device__ float Code(int channel, int token) const {
    const int i = channel * kPageTokens + token;
    if (l_.index_bits == 16) return ToFloat(reinterpret_cast<const T*>(base_ + l_.index_codes)[i]);
    const unsigned two = reinterpret_cast<const uint8_t*>(base_ + l_.index_codes)[i / 2];
    const unsigned code = two >> token % 2 * 4 & 0xf;
    return __fmaf_rn(Float(l_.index_step, channel), static_cast<float>(code),
                     Float(l_.index_lo, channel));
  }

 private:
  const SummaryLayout& l_;
  const char* const base_;
};

template <int kParts>
__device__ __forceinline__ float Dot(const float (&q)[kParts], const float (&x)[kParts]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kParts; ++i) sum = __fmaf_rn(q[i], x[i], sum);
  return WarpSum(sum);
}

// The logit of one block, for query heads one after the other.
template <typename T, int kParts>
class BlockLogit {
 public:
  __device__ BlockLogit(const BlockLogitsParams& p, const Summary<T, kParts>& summary)
      : p_(p), summary_(summary) {
    const SummaryLayout& l = p.layout;
    if (p.score == BlockScore::kMean || p.score == BlockScore::kQuestMean ||
        p.score == BlockScore::kIndex) {
      summary.Load(l.mean, 0, mean_);
    }
    if (p.score == BlockScore::kGate) summary.Load(l.gate, 0, mean_);
    const bool quest = p.score == BlockScore::kQuest || p.score == BlockScore::kQuestMean;
    if (quest || p.score == BlockScore::kMax) summary.Load(l.max, 0, max_);
    if (quest) summary.Load(l.min, 0, min_);
  }

  // q: a query, or the gate's. projected: the index's.
  __device__ float operator()(const float (&q)[kParts], const float* projected) const {
    const float scale = p_.batch.attention.scale;
    switch (p_.score) {
      case BlockScore::kMax:
        return scale * Dot(q, max_);
      case BlockScore::kQuest:
        return scale * Quest(q);
      case BlockScore::kQuestMean:
        return scale * (Quest(q) + Dot(q, mean_)) / 2;
      case BlockScore::kCompressed:
        return Compressed(q);
      case BlockScore::kIndex:
        return Index(q, projected);
      default:
        return scale * Dot(q, mean_);
    }
  }

 private:
  __device__ float Quest(const float (&q)[kParts]) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kParts; ++i) sum += fmaxf(q[i] * min_[i], q[i] * max_[i]);
    return WarpSum(sum);
  }
  __device__ float Compressed(const float (&q)[kParts]) const {
    float max = -INFINITY, total = 0;
    for (int e = 0; e < p_.layout.entries; ++e) {
      float key[kParts];
      summary_.Load(p_.layout.entry_keys, e, key);
      float logit = p_.batch.attention.scale * Dot(q, key);
      if (p_.layout.entry_biases >= 0) logit += summary_.Float(p_.layout.entry_biases, e);
      const float new_max = fmaxf(max, logit);
      total = total * expf(max - new_max) + expf(logit - new_max);
      max = new_max;
    }
    return max + logf(total);
  }
  // Two tokens a lane.
  __device__ float Index(const float (&q)[kParts], const float* projected) const {
    const int lane = threadIdx.x % 32;
    const float mean = Dot(q, mean_);
    float low = mean, high = mean;
    for (int i = 0; i < p_.layout.index_rank; ++i) {
      low = __fmaf_rn(projected[i], summary_.Code(i, lane), low);
      high = __fmaf_rn(projected[i], summary_.Code(i, lane + 32), high);
    }
    low *= p_.batch.attention.scale;
    high *= p_.batch.attention.scale;
    float max = fmaxf(low, high);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      max = fmaxf(max, __shfl_xor_sync(~0u, max, lanes));
    }
    return max + logf(WarpSum(expf(low - max) + expf(high - max)));
  }

  const BlockLogitsParams& p_;
  const Summary<T, kParts>& summary_;
  float mean_[kParts], max_[kParts], min_[kParts];
};

// A warp a block, for all rows of the piece.
template <typename T, int kParts>
__global__ void __launch_bounds__(kThreads) LogitsKernel(BlockLogitsParams p) {
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), d = static_cast<int>(a.kv.head_dim);
  const int lane = threadIdx.x % 32, rank = static_cast<int>(p.layout.index_rank);
  const Candidates candidates =
      CandidatesOf(piece.tile.position / kPageTokens, p.batch.sink_blocks, p.batch.window_blocks);
  const int32_t* const table = a.block_tables + piece.tile.sequence * a.block_table_stride;
  const int first = static_cast<int>(blockIdx.x) * kBlocksPerThreadBlock;
  const int end = min(first + kBlocksPerThreadBlock, candidates.count());
  for (int b = first + static_cast<int>(threadIdx.x) / 32; b < end; b += kWarps) {
    const int32_t page = table[candidates.begin + b];
    const Summary<T, kParts> summary(p.layout, p.summaries.of(page, kv_head));
    const BlockLogit<T, kParts> logit(p, summary);
    for (int row = 0; row < piece.tile.num_tokens * group; ++row) {
      const int64_t token = row / group, head = kv_head * group + row % group;
      const int64_t at = (piece.first_row - p.batch.first_row + token) * a.num_heads + head;
      const T* const query =
          static_cast<const T*>(a.q) + ((piece.tile.first_token + token) * a.num_heads + head) * d;
      const float* const gate = p.projected + (at / a.num_heads * a.num_kv_heads + kv_head) * d;
      float q[kParts];
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        const int e = lane + 32 * i;
        q[i] = e >= d ? 0 : p.score == BlockScore::kGate ? gate[e] : ToFloat(query[e]);
      }
      const float value = logit(q, p.projected + at * rank);
      if (lane == 0) p.logits[at * p.max_candidates + b] = value;
    }
  }
}

template <typename T>
cudaError_t Launch(const BlockLogitsParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const auto kernel = a.kv.head_dim <= 64    ? LogitsKernel<T, 2>
                      : a.kv.head_dim <= 128 ? LogitsKernel<T, 4>
                                             : LogitsKernel<T, 8>;
  const dim3 grid((params.max_candidates + kBlocksPerThreadBlock - 1) / kBlocksPerThreadBlock,
                  a.num_kv_heads, params.batch.num_pieces);
  kernel<<<grid, kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

cudaError_t BlockLogits(const BlockLogitsParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  if (params.batch.num_pieces == 0 || params.max_candidates == 0) return cudaSuccess;
  if (a.kv.head_dim > 256) return cudaErrorInvalidValue;
  if (IndexLogitsSupports(params)) {
    return WithHeadDim(a.kv.head_dim, [&](auto head_dim) {
      constexpr int kDim = decltype(head_dim)::value;
      if (a.kv.dtype == DType::kF16) return IndexLogits<__half, kDim>(params, stream);
      return IndexLogits<__nv_bfloat16, kDim>(params, stream);
    });
  }
  return WithElement(a.kv.dtype,
                     [&](auto element) { return Launch<decltype(element)>(params, stream); });
}

}  // namespace sieve::cuda
