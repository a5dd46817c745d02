#ifndef SIEVE_KERNELS_CUDA_ATTENTION_SPLIT_CUH_
#define SIEVE_KERNELS_CUDA_ATTENTION_SPLIT_CUH_

// Attention of a warp's 16 rows over one split of the keys, and the merge of splits: all that
// decides the bits of a result, so that the kernels for prefill and for decoding share it. A row is
// a (token, query head) pair of one group.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/mma.cuh"

namespace sieve::cuda {

// Maximum of a row's scores in units of log2, and the total of its weights relative to it.
struct SoftmaxState {
  float max = -INFINITY;
  float total = 0;
};

// The factors by which what was summed so far and what comes next are multiplied.
struct MergeFactors {
  float old_factor, new_factor;
};

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// What weights are relative to: the maximum, or anything where no key is visible.
__device__ __forceinline__ float BaseOf(float max) { return max == -INFINITY ? 0.0f : max; }

// Merges `next` into `state`. A part without any visible key (max -inf, total 0) changes nothing.
__device__ __forceinline__ MergeFactors Merge(SoftmaxState* state, const SoftmaxState& next) {
  const float max = fmaxf(state->max, next.max);
  const float base = BaseOf(max);
  const MergeFactors f = {Exp2(__fsub_rn(state->max, base)), Exp2(__fsub_rn(next.max, base))};
  state->max = max;
  state->total = __fmaf_rn(next.total, f.new_factor, __fmul_rn(state->total, f.old_factor));
  return f;
}

__device__ __forceinline__ float MergeValue(const MergeFactors& f, float old_value, float next) {
  return __fmaf_rn(next, f.new_factor, __fmul_rn(old_value, f.old_factor));
}

// A page's keys or values in shared memory, so that ldmatrix meets no bank twice: as they lie in
// the cache where that is swizzled (PageOffset), else in padded rows.
template <int kHeadDim>
inline constexpr bool kSwizzledPage = kHeadDim % 64 == 0;
template <int kHeadDim>
inline constexpr int kTileElements = kPageTokens*(kSwizzledPage<kHeadDim> ? kHeadDim
                                                                          : kHeadDim + 8);

// Where elements dim .. dim + 7 of a token are; dim is a multiple of 8.
template <int kHeadDim>
__device__ __forceinline__ int TileOffset(int slot, int dim) {
  if constexpr (kSwizzledPage<kHeadDim>) return PageOffset(slot, dim, kHeadDim, 2);
  return slot * (kHeadDim + 8) + dim;
}

// Keys and values of one page into shared[2 * kTileElements]. Zeros from `visible` tokens on: what
// a page holds beyond its last token may be anything, and a weight of zero does not hide a NaN.
template <typename T, int kHeadDim, int kThreads>
__device__ __forceinline__ void LoadPage(const char* page, int visible, T* shared) {
  constexpr int kChunks = kHeadDim / 8;
#pragma unroll 4
  for (int i = threadIdx.x; i < 2 * kPageTokens * kChunks; i += kThreads) {
    if constexpr (kSwizzledPage<kHeadDim>) {
      CopyAsync16(shared + i * 8, page + i * 16, i / 8 % kPageTokens < visible);
    } else {
      const int row = i / kChunks, chunk = i % kChunks;
      CopyAsync16(shared + row / kPageTokens * kTileElements<kHeadDim> +
                      TileOffset<kHeadDim>(row % kPageTokens, chunk * 8),
                  page + i * 16, row % kPageTokens < visible);
    }
  }
}

// Clears rows row .. 63 of a swizzled page of values, which are after the last token: whatever they
// hold, weights of zero would not hide a NaN. By a warp.
template <typename T, int kHeadDim>
__device__ __forceinline__ void ClearRowsFrom(T* values, int row) {
  static_assert(kSwizzledPage<kHeadDim>);
  const int lane = threadIdx.x % 32;
  for (int column = 0; column < kHeadDim / 64; ++column) {
    for (int i = row + lane / 8; i < kPageTokens; i += 4) {
      T* const at = values + (column * kPageTokens + i) * 64 + lane % 8 * 8;
      *reinterpret_cast<uint4*>(at) = make_uint4(0, 0, 0, 0);
    }
  }
}

// What a warp holds of its 16 rows. Lane 4 g + t: rows g and g + 8.
template <typename T, int kHeadDim>
struct WarpRows {
  uint32_t q[kHeadDim / 16][4];
  int32_t position[2];  // of the rows' tokens
};

template <int kHeadDim>
struct WarpSums {
  float out[kHeadDim / 8][4];
  SoftmaxState row[2];
};

// Rows of q that begin at `offset`; negative: no such row, zeros.
template <typename T, int kHeadDim>
__device__ __forceinline__ void LoadQueries(const T* q, const int64_t (&offset)[2],
                                            WarpRows<T, kHeadDim>* rows) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int64_t at = offset[part % 2];
      rows->q[k][part] =
          at < 0 ? 0 : *reinterpret_cast<const uint32_t*>(q + at + k * 16 + part / 2 * 8 + 2 * t);
    }
  }
}

// scores[64 keys] of one page, as the products gave them.
template <typename T, int kHeadDim>
__device__ __forceinline__ void Scores(const WarpRows<T, kHeadDim>& rows, const T* keys,
                                       float (&scores)[8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 8; j += 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[j][i] = scores[j + 1][i] = 0;
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      uint32_t b[4];  // keys 8j..8j+7: two halves of k; then keys 8j+8..
      const int row = 8 * j + lane / 16 * 8 + lane % 8;
      LoadMatrices4(keys + TileOffset<kHeadDim>(row, k * 16 + lane / 8 % 2 * 8), b);
      Mma<T>(scores[j], rows.q[k], b[0], b[1]);
      Mma<T>(scores[j + 1], rows.q[k], b[2], b[3]);
    }
  }
}

// -inf where a key of the page that begins with `first_key` is after the row's token.
__device__ __forceinline__ void MaskScores(const int32_t (&position)[2], int first_key,
                                           float (&scores)[8][4]) {
  const int last_key = first_key + kPageTokens - 1;
  if (last_key <= position[0] && last_key <= position[1]) return;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + 8 * j + threadIdx.x % 4 * 2 + i % 2;
      if (key > position[i / 2]) scores[j][i] = -INFINITY;
    }
  }
}

// A score as a weight relative to `base`.
__device__ __forceinline__ float WeightOf(float score, float scale_log2, float base) {
  return Exp2(__fmaf_rn(score, scale_log2, -base));
}

// Turns a lane's scores of row r into weights, and returns their total.
__device__ __forceinline__ float WeighRow(int r, float base, float scale_log2,
                                          float (&scores)[8][4]) {
  float total = 0;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 2 * r; i < 2 * r + 2; ++i) {
      scores[j][i] = WeightOf(scores[j][i], scale_log2, base);
      total = __fadd_rn(total, scores[j][i]);
    }
  }
  return total;
}

// The total of a row's four lanes.
__device__ __forceinline__ float RowTotal(float total) {
  total = __fadd_rn(total, __shfl_xor_sync(~0u, total, 1));
  return __fadd_rn(total, __shfl_xor_sync(~0u, total, 2));
}

// What a page adds to a lane's two rows.
struct PageSums {
  float factor[2];  // for what was summed before
  float total[2];   // of the lane's weights
  float other[2];   // its neighbour's
};

// Turns scores into weights relative to the rows' new maxima. AddTotals() is to follow. Both rows
// side by side, for they wait for each instruction's result.
__device__ __forceinline__ PageSums WeighScores(float (&scores)[8][4], float scale_log2,
                                                SoftmaxState (&row)[2]) {
  float max[2][2], base[2];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float pair = fmaxf(scores[j][2 * r], scores[j][2 * r + 1]);
      max[r][j % 2] = j < 2 ? pair : fmaxf(max[r][j % 2], pair);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) max[r][0] = fmaxf(max[r][0], max[r][1]);
#pragma unroll
  for (int lanes = 1; lanes <= 2; lanes *= 2) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      max[r][0] = fmaxf(max[r][0], __shfl_xor_sync(~0u, max[r][0], lanes));
    }
  }
  PageSums sums;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float new_max = fmaxf(row[r].max, __fmul_rn(max[r][0], scale_log2));
    base[r] = BaseOf(new_max);
    sums.factor[r] = Exp2(__fsub_rn(row[r].max, base[r]));
    row[r].max = new_max;
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = i / 2;
      scores[j][i] = WeightOf(scores[j][i], scale_log2, base[r]);
      const bool first = j == 0 && i % 2 == 0;
      sums.total[r] = first ? scores[j][i] : __fadd_rn(sums.total[r], scores[j][i]);
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) sums.other[r] = __shfl_xor_sync(~0u, sums.total[r], 1);
  return sums;
}

__device__ __forceinline__ void AddTotals(const PageSums& sums, SoftmaxState (&row)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float pair = __fadd_rn(sums.total[r], sums.other[r]);
    const float total = __fadd_rn(pair, __shfl_xor_sync(~0u, pair, 2));
    row[r].total = __fmaf_rn(row[r].total, sums.factor[r], total);
  }
}

template <int kHeadDim>
__device__ __forceinline__ void ScaleRow(int r, float factor, WarpSums<kHeadDim>* sums) {
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n) {
    sums->out[n][2 * r] = __fmul_rn(sums->out[n][2 * r], factor);
    sums->out[n][2 * r + 1] = __fmul_rn(sums->out[n][2 * r + 1], factor);
  }
}

// Weights of 16 keys, from 16 k on, as the left operand of a product with values.
template <typename T>
__device__ __forceinline__ void PackWeights(const float (&weights)[8][4], int k, uint32_t (&a)[4]) {
  a[0] = Pack<T>(weights[2 * k][0], weights[2 * k][1]);
  a[1] = Pack<T>(weights[2 * k][2], weights[2 * k][3]);
  a[2] = Pack<T>(weights[2 * k + 1][0], weights[2 * k + 1][1]);
  a[3] = Pack<T>(weights[2 * k + 1][2], weights[2 * k + 1][3]);
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void AddValues(const float (&weights)[8][4], const T* values,
                                          WarpSums<kHeadDim>* sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    uint32_t a[4];
    PackWeights<T>(weights, k, a);
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; n += 2) {
      uint32_t b[4];
      const int row = 16 * k + lane % 16;
      LoadMatrices4Transposed(values + TileOffset<kHeadDim>(row, 8 * n + lane / 16 * 8), b);
      Mma<T>(sums->out[n], a, b[0], b[1]);
      Mma<T>(sums->out[n + 1], a, b[2], b[3]);
    }
  }
}

template <int kHeadDim>
__device__ __forceinline__ void Clear(WarpSums<kHeadDim>* sums) {
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums->out[n][i] = 0;
  }
  sums->row[0] = sums->row[1] = SoftmaxState();
}

// What the scores of 64 keys, -inf where a row does not see one, and their values add to a split.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AddScores(float (&scores)[8][4], const T* values, float scale_log2,
                                          WarpSums<kHeadDim>* sums) {
  const PageSums page = WeighScores(scores, scale_log2, sums->row);
  AddTotals(page, sums->row);
#pragma unroll
  for (int r = 0; r < 2; ++r) ScaleRow(r, page.factor[r], sums);
  AddValues<T, kHeadDim>(scores, values, sums);
}

// One page of a split: shared holds its keys, then its values. A row at position -1 sees none.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendPage(const WarpRows<T, kHeadDim>& rows,
                                           const int32_t (&position)[2], const T* shared,
                                           int first_key, float scale_log2,
                                           WarpSums<kHeadDim>* sums) {
  float scores[8][4];
  Scores<T, kHeadDim>(rows, shared, scores);
  MaskScores(position, first_key, scores);
  AddScores<T, kHeadDim>(scores, shared + kTileElements<kHeadDim>, scale_log2, sums);
}
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendPage(const WarpRows<T, kHeadDim>& rows, const T* shared,
                                           int first_key, float scale_log2,
                                           WarpSums<kHeadDim>* sums) {
  AttendPage<T, kHeadDim>(rows, rows.position, shared, first_key, scale_log2, sums);
}

// `state` is that of the split's row r.
template <int kHeadDim>
__device__ __forceinline__ void MergeRow(int r, const SoftmaxState& state,
                                         const WarpSums<kHeadDim>& split,
                                         WarpSums<kHeadDim>* total) {
  const MergeFactors f = Merge(&total->row[r], state);
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n) {
#pragma unroll
    for (int i = 2 * r; i < 2 * r + 2; ++i) {
      total->out[n][i] = MergeValue(f, total->out[n][i], split.out[n][i]);
    }
  }
}

// Writes the results of a warp's rows; `offset` as for LoadQueries.
template <typename T, int kHeadDim>
__device__ __forceinline__ void StoreRows(const WarpSums<kHeadDim>& total,
                                          const int64_t (&offset)[2], T* out) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (offset[r] < 0) continue;
    const float scale = __frcp_rn(total.row[r].total);
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      *reinterpret_cast<uint32_t*>(out + offset[r] + 8 * n + threadIdx.x % 4 * 2) =
          Pack<T>(__fmul_rn(total.out[n][2 * r], scale), __fmul_rn(total.out[n][2 * r + 1], scale));
    }
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_SPLIT_CUH_
