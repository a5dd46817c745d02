#ifndef SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_
#define SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_

// Logits of the token index on tensor cores, for caches of 16 bits. A logit is the log-sum-exp over
// a block's tokens of q . mean + p . c_j, where p is the query in the index and c_j = lo + step
// code_j. Codes are exact in 16 bits; p times step is not, so that it goes in two parts of 16 bits,
// and what is lost is 2^-17 of it.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/block_scores.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {

inline constexpr int kIndexWarps = 4;
inline constexpr int kIndexBlocks = 8;     // a warp's, at a time
inline constexpr int kMostIndexRank = 64;  // of this kernel

inline bool IndexLogitsSupports(const BlockLogitsParams& p) {
  return p.score == BlockScore::kIndex && p.batch.attention.kv.dtype != DType::kF32 &&
         p.layout.index_rank <= kMostIndexRank &&
         AttentionSupports(p.batch.attention.kv.head_dim, 1);
}

// Two 4-bit codes, in bits 0 and 4 g of `low` and `high`, as the elements of a register.
template <typename T>
__device__ __forceinline__ uint32_t UnpackCodes(uint32_t low, uint32_t high);
template <>
__device__ __forceinline__ uint32_t UnpackCodes<__nv_bfloat16>(uint32_t low, uint32_t high) {
  // 128 + code, whose last bits are the code's, less 128.
  const uint32_t biased = (low & 0xf) | (high & 0xf) << 16 | 0x43004300u;
  const __nv_bfloat162 codes = __hsub2(reinterpret_cast<const __nv_bfloat162&>(biased),
                                       __bfloat162bfloat162(__ushort_as_bfloat16(0x4300)));
  return reinterpret_cast<const uint32_t&>(codes);
}
template <>
__device__ __forceinline__ uint32_t UnpackCodes<__half>(uint32_t low, uint32_t high) {
  const uint32_t biased = (low & 0xf) | (high & 0xf) << 16 | 0x64006400u;  // 1024 + code
  const __half2 codes =
      __hsub2(reinterpret_cast<const __half2&>(biased), __half2half2(__ushort_as_half(0x6400)));
  return reinterpret_cast<const uint32_t&>(codes);
}

// A warp's 16 rows in the index. Lane 4 g + t: rows g and g + 8, channels 16 k + 2 t, + 1, + 8 and
// + 9.
template <int kSteps>
struct IndexRows {
  float p[2][kSteps][4] = {};

  __device__ static int Channel(int k, int i) {
    return 16 * k + static_cast<int>(threadIdx.x) % 4 * 2 + i / 2 * 8 + i % 2;
  }
  // Of row r; null: no such row.
  __device__ void Load(int r, const float* projected, int rank) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int channel = Channel(k, i);
        p[r][k][i] = projected != nullptr && channel < rank ? projected[channel] : 0;
      }
    }
  }
};

// One block's codes and what they stand for, as a lane needs them.
template <typename T, int kSteps>
class IndexBlock {
 public:
  __device__ IndexBlock(const SummaryLayout& layout, const char* summary)
      : l_(layout), summary_(summary), rank_(static_cast<int>(layout.index_rank)) {}

  __device__ float Step(int channel) const {
    return l_.index_bits == 16 ? 1.0f : Of(l_.index_step, channel);
  }
  __device__ float Low(int channel) const {
    return l_.index_bits == 16 ? 0.0f : Of(l_.index_lo, channel);
  }
  // Codes of tokens 8 j + g, channels 16 k ..: the right operand of a product.
  __device__ void Codes(int k, int j, uint32_t (&b)[2]) const {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int low = IndexRows<kSteps>::Channel(k, 2 * half), high = low + 1;
      if (l_.index_bits == 16) {
        b[half] = Value(low, 8 * j + g) | Value(high, 8 * j + g) << 16;
      } else {
        b[half] = UnpackCodes<T>(Word(low, j) >> 4 * g, Word(high, j) >> 4 * g);
      }
    }
  }

 private:
  __device__ float Of(int64_t part, int channel) const {
    return channel < rank_ ? reinterpret_cast<const float*>(summary_ + part)[channel] : 0;
  }
  // The codes of tokens 8 j .. 8 j + 7.
  __device__ uint32_t Word(int channel, int j) const {
    return channel < rank_ ? reinterpret_cast<const uint32_t*>(
                                 summary_ + l_.index_codes)[channel * (kPageTokens / 8) + j]
                           : 0;
  }
  __device__ uint32_t Value(int channel, int token) const {
    return channel < rank_ ? reinterpret_cast<const uint16_t*>(
                                 summary_ + l_.index_codes)[channel * kPageTokens + token]
                           : 0;
  }

  const SummaryLayout& l_;
  const char* const summary_;
  const int rank_;
};

// p . (lo + step code_j) of a block's 64 tokens: `scores` lacks p . lo, which is returned.
template <typename T, int kSteps>
__device__ __forceinline__ float2 IndexScores(const IndexRows<kSteps>& rows,
                                              const IndexBlock<T, kSteps>& block,
                                              float (&scores)[8][4]) {
  float low[2] = {};
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[j][i] = 0;
  }
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    // Operands [16, 16]: rows g and g + 8 of channels 2 t, 2 t + 1, then of those 8 on.
    uint32_t coarse[4], fine[4];
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int r = part % 2, i = part / 2 * 2;
      float x[2], rest[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int channel = IndexRows<kSteps>::Channel(k, i + e);
        x[e] = __fmul_rn(rows.p[r][k][i + e], block.Step(channel));
        rest[e] = __fsub_rn(x[e], ToFloat(FromFloat<T>(x[e])));
        low[r] = __fmaf_rn(rows.p[r][k][i + e], block.Low(channel), low[r]);
      }
      coarse[part] = Pack<T>(x[0], x[1]);
      fine[part] = Pack<T>(rest[0], rest[1]);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      uint32_t b[2];
      block.Codes(k, j, b);
      Mma<T>(scores[j], coarse, b[0], b[1]);
      Mma<T>(scores[j], fine, b[0], b[1]);
    }
  }
  return {RowTotal(low[0]), RowTotal(low[1])};
}

// The log-sum-exp, in units of log2, of a row's scores times `scale_log2`.
__device__ __forceinline__ float LogTotal(int r, float scale_log2, const float (&scores)[8][4]) {
  float max = -INFINITY, total = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) max = fmaxf(max, fmaxf(scores[j][2 * r], scores[j][2 * r + 1]));
  max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
  max = __fmul_rn(fmaxf(max, __shfl_xor_sync(~0u, max, 2)), scale_log2);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 2 * r; i < 2 * r + 2; ++i) {
      total = __fadd_rn(total, WeightOf(scores[j][i], scale_log2, max));
    }
  }
  return __fadd_rn(max, log2f(RowTotal(total)));
}

// q . mean of eight blocks from candidate `first` on. Lane 4 g + t: rows g, g + 8 of blocks 2 t, 2
// t
// + 1.
template <typename T, int kHeadDim>
__device__ __forceinline__ void MeanScores(const WarpRows<T, kHeadDim>& rows, const char* summary,
                                           int64_t mean, float (&scores)[4]) {
  const T* const values = reinterpret_cast<const T*>(summary + mean);
#pragma unroll
  for (int i = 0; i < 4; ++i) scores[i] = 0;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    const uint32_t* const b =
        reinterpret_cast<const uint32_t*>(values + 16 * k + threadIdx.x % 4 * 2);
    Mma<T>(scores, rows.q[k], b[0], b[4]);
  }
}

// A warp at a time takes 16 rows of the piece and eight blocks.
template <typename T, int kHeadDim, int kSteps>
__global__ void __launch_bounds__(kIndexWarps * 32)
    IndexLogitsKernel(BlockLogitsParams p, float scale_log2, int eights) {
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), lane = threadIdx.x % 32;
  const int rank = static_cast<int>(p.layout.index_rank);
  const Candidates candidates =
      CandidatesOf(piece.tile.position / kPageTokens, p.batch.sink_blocks, p.batch.window_blocks);
  const int32_t* const table = a.block_tables + piece.tile.sequence * a.block_table_stride;
  const int row_tiles = (piece.tile.num_tokens * group + 15) / 16;
  for (int unit = threadIdx.x / 32; unit < row_tiles * eights; unit += kIndexWarps) {
    const int first_row = unit % row_tiles * 16;
    const int first = (static_cast<int>(blockIdx.x) * eights + unit / row_tiles) * kIndexBlocks;
    const int count = min(kIndexBlocks, candidates.count() - first);
    if (count <= 0) break;
    WarpRows<T, kHeadDim> rows;
    int64_t offset[2];
    SetUpRows<T, kHeadDim>(a, piece.tile, kv_head, first_row, &rows, offset);
    IndexRows<kSteps> index;
    float* to[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = first_row + lane / 4 + 8 * r;
      const int64_t at = (piece.first_row - p.batch.first_row + row / group) * a.num_heads +
                         kv_head * group + row % group;
      index.Load(r, offset[r] < 0 ? nullptr : p.projected + at * rank, rank);
      to[r] = offset[r] < 0 ? nullptr : p.logits + at * p.max_candidates + first;
    }
    // Lane i of the first eight knows block i's summary.
    const int64_t place =
        p.summaries.of(table[candidates.begin + first + min(lane % 8, count - 1)], kv_head) -
        p.summaries.base;
    float mean[4];
    MeanScores<T, kHeadDim>(rows, p.summaries.base + __shfl_sync(~0u, place, lane / 4),
                            p.layout.mean, mean);
    for (int b = 0; b < count; ++b) {
      const IndexBlock<T, kSteps> block(p.layout, p.summaries.base + __shfl_sync(~0u, place, b));
      float scores[8][4];
      const float2 low = IndexScores<T, kSteps>(index, block, scores);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float own = b % 2 == 0 ? mean[2 * r] : mean[2 * r + 1];
        const float of_mean = __shfl_sync(~0u, own, lane / 4 * 4 + b / 2);
        const float common = __fmul_rn(__fadd_rn(of_mean, r == 0 ? low.x : low.y), scale_log2);
        const float logit = __fmul_rn(__fadd_rn(common, LogTotal(r, scale_log2, scores)),
                                      static_cast<float>(M_LN2));
        if (lane % 4 == 0 && to[r] != nullptr) to[r][b] = logit;
      }
    }
  }
}

template <typename T, int kHeadDim>
cudaError_t IndexLogits(const BlockLogitsParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const int64_t rank = params.layout.index_rank;
  const auto kernel = rank <= 16   ? IndexLogitsKernel<T, kHeadDim, 1>
                      : rank <= 32 ? IndexLogitsKernel<T, kHeadDim, 2>
                                   : IndexLogitsKernel<T, kHeadDim, 4>;
  // Pieces of one token are few: more thread blocks for each.
  const int eights = params.batch.max_tokens == 1 ? kIndexWarps : 4 * kIndexWarps;
  const int64_t blocks = eights * kIndexBlocks;
  const dim3 grid((params.max_candidates + blocks - 1) / blocks, a.num_kv_heads,
                  params.batch.num_pieces);
  kernel<<<grid, kIndexWarps * 32, 0, stream>>>(params, ScaleLog2(a), eights);
  return cudaGetLastError();
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_
