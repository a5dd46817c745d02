#ifndef SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_
#define SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_

// Logits of the token index on tensor cores, for caches of 16 bits. A logit is the log-sum-exp over
// a block's tokens of q . mean + p . c_j, where p is the query in the index and c_j = lo + step
// code_j. Codes are exact in 16 bits; p times step is not, so that it goes in two parts of 16 bits,
// and what is lost is 2^-17 of it.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/block_scores.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sparse_partial.cuh"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {

inline constexpr int kIndexWarps = 4;
inline constexpr int kIndexBlocks = 8;     // at a time
inline constexpr int kMostIndexRank = 64;  // of this kernel

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

// Where the parts of a block's summary lie in shared memory, in bytes.
struct IndexStage {
  int mean_bytes, codes_bytes, floats_bytes;
  int block_bytes;  // so that the means of eight blocks meet no bank twice

  __host__ __device__ explicit IndexStage(const SummaryLayout& l) {
    const int rank = static_cast<int>(l.index_rank);
    mean_bytes = static_cast<int>(l.head_dim) * 2;
    codes_bytes = rank * kPageTokens / 2 * (l.index_bits == 16 ? 4 : 1);
    floats_bytes = l.index_bits == 16 ? 0 : (rank * 4 + 15) / 16 * 16;
    block_bytes = (mean_bytes + codes_bytes + 2 * floats_bytes + 127) / 128 * 128 + 16;
  }
  __host__ __device__ int bytes() const { return kIndexBlocks * block_bytes; }

  // The summaries of `count` blocks of a table. By all threads.
  __device__ void Load(const BlockLogitsParams& p, const int32_t* table, int count, int kv_head,
                       char* to) const {
    const SummaryLayout& l = p.layout;
    int at = 0;
    const auto part = [&](int64_t from, int bytes) {
      const int chunks = bytes / 16;
      for (int i = threadIdx.x; i < count * chunks; i += kIndexWarps * 32) {
        const int block = i / chunks, offset = i % chunks * 16;
        CopyAsync16(to + block * block_bytes + at + offset,
                    p.summaries.of(table[block], kv_head) + from + offset, true);
      }
      at += bytes;
    };
    part(l.mean, mean_bytes);
    part(l.index_codes, codes_bytes);
    part(l.index_lo, floats_bytes);
    part(l.index_step, floats_bytes);
  }
};

// Two stages: one is computed while the other is loaded.
inline int IndexSharedBytes(const SummaryLayout& l) { return 2 * IndexStage(l).bytes(); }

inline bool IndexLogitsSupports(const BlockLogitsParams& p) {
  return p.score == BlockScore::kIndex && p.batch.attention.kv.dtype != DType::kF32 &&
         p.layout.index_rank <= kMostIndexRank &&
         AttentionSupports(p.batch.attention.kv.head_dim, 1) &&
         IndexSharedBytes(p.layout) <= ThisChip().shared_bytes;
}

// One block's codes and what they stand for, as a lane needs them.
template <typename T, int kSteps>
class IndexBlock {
 public:
  __device__ IndexBlock(const SummaryLayout& layout, const IndexStage& stage, const char* block)
      : codes_(block + stage.mean_bytes),
        lo_(reinterpret_cast<const float*>(codes_ + stage.codes_bytes)),
        step_(lo_ + stage.floats_bytes / 4),
        rank_(static_cast<int>(layout.index_rank)),
        is_wide_(layout.index_bits == 16) {}

  __device__ float Step(int channel) const {
    return is_wide_ ? 1.0f : channel < rank_ ? step_[channel] : 0.0f;
  }
  __device__ float Low(int channel) const {
    return is_wide_ || channel >= rank_ ? 0.0f : lo_[channel];
  }

  // A lane's channels 16 k ..: their codes of tokens 0 .. 63, a word each eight.
  struct Words {
    uint32_t of[4][8];
  };
  __device__ Words Load(int k) const {
    Words words;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int channel = IndexRows<kSteps>::Channel(k, i);
      if (is_wide_ || channel >= rank_) {
#pragma unroll
        for (int j = 0; j < 8; ++j) words.of[i][j] = 0;
        continue;
      }
      const uint4* const from =
          reinterpret_cast<const uint4*>(codes_ + channel * (kPageTokens / 2));
      const uint4 low = from[0], high = from[1];
      words.of[i][0] = low.x, words.of[i][1] = low.y;
      words.of[i][2] = low.z, words.of[i][3] = low.w;
      words.of[i][4] = high.x, words.of[i][5] = high.y;
      words.of[i][6] = high.z, words.of[i][7] = high.w;
    }
    return words;
  }
  // Codes of tokens 8 j + g: the right operand of a product.
  __device__ void Codes(const Words& words, int k, int j, uint32_t (&b)[2]) const {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (is_wide_) {
        const int low = IndexRows<kSteps>::Channel(k, 2 * half);
        b[half] = Value(low, 8 * j + g) | Value(low + 1, 8 * j + g) << 16;
      } else {
        b[half] =
            UnpackCodes<T>(words.of[2 * half][j] >> 4 * g, words.of[2 * half + 1][j] >> 4 * g);
      }
    }
  }

 private:
  __device__ uint32_t Value(int channel, int token) const {
    return channel < rank_
               ? reinterpret_cast<const uint16_t*>(codes_)[channel * kPageTokens + token]
               : 0;
  }

  const char* const codes_;
  const float* const lo_;
  const float* const step_;
  const int rank_;
  const bool is_wide_;
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
    const typename IndexBlock<T, kSteps>::Words words = block.Load(k);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      uint32_t b[2];
      block.Codes(words, k, j, b);
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

// q . mean of eight blocks, of which `mean` is that of the lane's block g. Lane 4 g + t: rows g, g
// + 8 of blocks 2 t, 2 t + 1.
template <typename T, int kHeadDim>
__device__ __forceinline__ void MeanScores(const WarpRows<T, kHeadDim>& rows, const char* mean,
                                           float (&scores)[4]) {
  const T* const values = reinterpret_cast<const T*>(mean);
#pragma unroll
  for (int i = 0; i < 4; ++i) scores[i] = 0;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    const uint32_t* const b =
        reinterpret_cast<const uint32_t*>(values + 16 * k + threadIdx.x % 4 * 2);
    Mma<T>(scores, rows.q[k], b[0], b[4]);
  }
}

// A thread block takes all rows of a piece and `eights` times eight blocks, one after the other in
// shared memory; a warp takes 16 rows, and where there are less than 64, some of the eight blocks.
template <typename T, int kHeadDim, int kSteps>
__global__ void __launch_bounds__(kIndexWarps * 32, 3)
    IndexLogitsKernel(BlockLogitsParams p, float scale_log2, int eights) {
  extern __shared__ __align__(128) char shared_bytes[];
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), lane = threadIdx.x % 32;
  const int rank = static_cast<int>(p.layout.index_rank);
  const Candidates candidates =
      CandidatesOf(piece.tile.position / kPageTokens, p.batch.sink_blocks, p.batch.window_blocks);
  const int first = static_cast<int>(blockIdx.x) * eights * kIndexBlocks;
  const int end = min(first + eights * kIndexBlocks, candidates.count());
  if (first >= end) return;
  const int32_t* const table =
      a.block_tables + piece.tile.sequence * a.block_table_stride + candidates.begin;
  const IndexStage stage(p.layout);

  const int tiles = (piece.tile.num_tokens * group + 15) / 16;
  const int warps_a_tile = max(1, kIndexWarps / tiles);  // 4, 2 or 1
  const int tile = threadIdx.x / 32 / warps_a_tile, first_row = tile * 16;
  const int own_blocks = kIndexBlocks / warps_a_tile;
  const int own_first = static_cast<int>(threadIdx.x) / 32 % warps_a_tile * own_blocks;
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
    to[r] = offset[r] < 0 ? nullptr : p.logits + at * p.max_candidates;
  }

  const auto load = [&](int block, int buffer) {
    if (block < end) {
      stage.Load(p, table + block, min(kIndexBlocks, end - block), kv_head,
                 shared_bytes + buffer * stage.bytes());
    }
    CommitCopies();
  };
  load(first, 0);
  int buffer = 0;
  for (int block = first; block < end; block += kIndexBlocks, buffer = 1 - buffer) {
    load(block + kIndexBlocks, 1 - buffer);
    WaitForCopies<1>();
    __syncthreads();
    const char* const blocks = shared_bytes + buffer * stage.bytes();
    const int count = tile < tiles ? min(own_first + own_blocks, end - block) : 0;
    if (own_first < count) {
      float mean[4];
      // What is not there of the eight is as good as anything: its scores are not used.
      MeanScores<T, kHeadDim>(rows, blocks + min(lane / 4, end - block - 1) * stage.block_bytes,
                              mean);
      for (int b = own_first; b < count; ++b) {
        const IndexBlock<T, kSteps> codes(p.layout, stage, blocks + b * stage.block_bytes);
        float scores[8][4];
        const float2 low = IndexScores<T, kSteps>(index, codes, scores);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float own = b % 2 == 0 ? mean[2 * r] : mean[2 * r + 1];
          const float of_mean = __shfl_sync(~0u, own, lane / 4 * 4 + b / 2);
          const float common = __fmul_rn(__fadd_rn(of_mean, r == 0 ? low.x : low.y), scale_log2);
          const float logit = __fmul_rn(__fadd_rn(common, LogTotal(r, scale_log2, scores)),
                                        static_cast<float>(M_LN2));
          if (lane % 4 == 0 && to[r] != nullptr) to[r][block + b] = logit;
        }
      }
    }
    __syncthreads();  // all have read what the next load overwrites
  }
}

template <typename T, int kHeadDim>
cudaError_t IndexLogits(const BlockLogitsParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const int64_t rank = params.layout.index_rank;
  const auto kernel = rank <= 16   ? IndexLogitsKernel<T, kHeadDim, 1>
                      : rank <= 32 ? IndexLogitsKernel<T, kHeadDim, 2>
                                   : IndexLogitsKernel<T, kHeadDim, 4>;
  const int bytes = IndexSharedBytes(params.layout);
  if (bytes > kSharedAtHand) {
    if (const cudaError_t error = AllowShared(kernel, bytes); error != cudaSuccess) return error;
  }
  // Pieces of one token are few: more thread blocks for each.
  const int eights = params.batch.max_tokens == 1 ? 2 : 16;
  const int64_t blocks = eights * kIndexBlocks;
  const dim3 grid((params.max_candidates + blocks - 1) / blocks, a.num_kv_heads,
                  params.batch.num_pieces);
  kernel<<<grid, kIndexWarps * 32, bytes, stream>>>(params, ScaleLog2(a), eights);
  return cudaGetLastError();
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_INDEX_SCORES_CUH_
