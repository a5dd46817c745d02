#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_

// Attention of a decoding step: four warps a split of four pages, which come from the ring. Each
// computes the weights of one page's keys, then a quarter of the dimensions for all pages: with the
// page by page order of attention_split.cuh, but most of it side by side. The newest token's key and
// value come from this step's projections; the warp that reads their page rotates them, puts them
// into the page in shared memory and in device memory.

#include <cstdint>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/decode_step_products.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"

namespace sieve::cuda {

inline constexpr int kPartialFloats = kStepHeadDim + 2;  // out, max, total

// Cosines, then sines, of one token's rotation; in shared memory.
struct Rotation {
  const float* cosines;
  const float* sines;
};

// The dimensions of pair i = 0 .. 31 of a head.
__device__ __forceinline__ int2 PairDims(bool interleaved, int i) {
  return interleaved ? make_int2(2 * i, 2 * i + 1) : make_int2(i, i + kStepHeadDim / 2);
}

// What a lane holds of the queries of a unit's rows (heads of the group) before their rotation:
// elements 8 i + 2 t and the next of rows g and g + 8, as fragments want them.
struct PlainQueries {
  float2 row[2][8];
};

// `heads` [group, 64] floats.
__device__ __forceinline__ void LoadPlainQueries(const float* heads, int group, PlainQueries* q) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = threadIdx.x % 32 / 4 + 8 * r;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float* at = heads + row * kStepHeadDim + 8 * i + 2 * (threadIdx.x % 4);
      q->row[r][i] =
          row < group ? __ldcg(reinterpret_cast<const float2*>(at)) : make_float2(0, 0);
    }
  }
}

template <typename T>
__device__ __forceinline__ void RotateQueries(PlainQueries q, bool interleaved,
                                              const Rotation& rotation,
                                              WarpRows<T, kStepHeadDim>* rows) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float2& v = q.row[r][i];
      const int dim = 8 * i + 2 * (threadIdx.x % 4);
      if (interleaved) {
        v = Rotate(v.x, v.y, rotation.cosines[dim / 2], rotation.sines[dim / 2]);
      } else if (i < 4) {
        float2& w = q.row[r][i + 4];
        const float2 x = Rotate(v.x, w.x, rotation.cosines[dim], rotation.sines[dim]);
        const float2 y = Rotate(v.y, w.y, rotation.cosines[dim + 1], rotation.sines[dim + 1]);
        v = make_float2(x.x, y.x);
        w = make_float2(x.y, y.y);
      }
    }
    // Elements 16 k + 8 h + 2 t and the next are fragment [k][2 h + r].
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      rows->q[i / 2][i % 2 * 2 + r] = Pack<T>(q.row[r][i].x, q.row[r][i].y);
    }
  }
}

// A lane's pair of the newest key and value.
struct NewestPair {
  float2 key = {0, 0};
  float2 value = {0, 0};
};

template <typename T>
__device__ __forceinline__ void StorePair(T* tile, int slot, int2 dims, float2 pair) {
  tile[PageOffset(slot, dims.x, kStepHeadDim, sizeof(T))] = FromFloat<T>(pair.x);
  tile[PageOffset(slot, dims.y, kStepHeadDim, sizeof(T))] = FromFloat<T>(pair.y);
}

// Rows of a page of values that are after the newest one: whatever they hold, their weights of zero
// would not hide a NaN.
template <typename T>
__device__ __forceinline__ void ClearRowsAfter(T* tile, int slot) {
  const int lane = threadIdx.x % 32;
  for (int row = slot + 1 + lane / 8; row < kPageTokens; row += 4) {
    *reinterpret_cast<uint4*>(tile + row * 64 + lane % 8 * 8) = make_uint4(0, 0, 0, 0);
  }
}

// Puts the newest key and value into their page: [2, 64, 64] at `page`.
template <typename T>
__device__ __forceinline__ void PutNewest(const NewestPair& newest, int2 key_dims, int slot,
                                          T* page) {
  const int lane = threadIdx.x % 32;
  StorePair(page, slot, key_dims, newest.key);
  StorePair(page + kPageTokens * kStepHeadDim, slot, make_int2(2 * lane, 2 * lane + 1),
            newest.value);
}

// What the four warps of a warpgroup tell each other.
struct GroupScratch {
  float max[kPagesPerSplit][16];                  // of a page's scores
  float total[kPagesPerSplit][16];                // of a page's weights
  uint4 weights[kPagesPerSplit][kPageTokens / 16][32];  // fragments for Mma
};

__device__ __forceinline__ void GroupSync() {
  if (threadIdx.x / 32 < kGroupWarps) {
    asm volatile("bar.sync 2, %0;" ::"n"(32 * kGroupWarps) : "memory");
  } else {
    asm volatile("bar.sync 3, %0;" ::"n"(32 * kGroupWarps) : "memory");
  }
}

// What a warp needs of the newest token if its page is the one.
struct NewestToken {
  bool here = false;
  NewestPair pair;
  char* page = nullptr;  // in device memory
};

// `qkv`: the token's projections, of all heads.
__device__ __forceinline__ NewestToken NewestOf(const DecodeStepParams& p, const StepPlan& plan,
                                                int layer, const AttentionUnit& unit, int page,
                                                const float* qkv, const Rotation& rotation) {
  NewestToken newest;
  newest.here = unit.split * kPagesPerSplit + page == plan.positions[unit.token] / kPageTokens;
  if (!newest.here) return newest;
  const int lane = threadIdx.x % 32;
  const float* key = qkv + (p.num_heads + unit.kv_head) * kStepHeadDim;
  const float* value = key + p.num_kv_heads * kStepHeadDim;
  const int2 dims = PairDims(p.rope_interleaved, lane);
  newest.pair.value = __ldcg(reinterpret_cast<const float2*>(value + 2 * lane));
  newest.pair.key = Rotate(__ldcg(key + dims.x), __ldcg(key + dims.y), rotation.cosines[lane],
                           rotation.sines[lane]);
  newest.page = p.kv.base + layer * p.layer_stride +
                plan.newest_pages[unit.token] * p.kv.page_stride + unit.kv_head * p.kv.head_stride;
  return newest;
}

template <typename T>
__device__ __forceinline__ void PutNewestInBoth(const NewestToken& newest, bool interleaved,
                                                int position, T* page) {
  const int2 dims = PairDims(interleaved, threadIdx.x % 32);
  const int slot = position % kPageTokens;
  ClearRowsAfter(page + kPageTokens * kStepHeadDim, slot);
  PutNewest(newest.pair, dims, slot, page);
  PutNewest(newest.pair, dims, slot, reinterpret_cast<T*>(newest.page));
  // What was stored here comes before what the copy engine writes next.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
}

// Maximum of a row's scores over its four lanes.
__device__ __forceinline__ float RowMax(const float (&scores)[8][4], int r) {
  float max = -INFINITY;
#pragma unroll
  for (int j = 0; j < 8; ++j) max = fmaxf(max, fmaxf(scores[j][2 * r], scores[j][2 * r + 1]));
  max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
  return fmaxf(max, __shfl_xor_sync(~0u, max, 2));
}

// Turns a page's scores into weights relative to the largest score of its split so far.
template <typename T>
__device__ __forceinline__ void StoreWeights(float (&scores)[8][4], int page,
                                             GroupScratch* scratch) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    float max = -INFINITY;
    for (int before = 0; before <= page; ++before) max = fmaxf(max, scratch->max[before][row]);
    const float base = max == -INFINITY ? 0.0f : max;
    float total = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[j][i] = Exp2(scores[j][i] - base);
        total += scores[j][i];
      }
    }
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    if (lane % 4 == 0) scratch->total[page][row] = total;
  }
#pragma unroll
  for (int k = 0; k < kPageTokens / 16; ++k) {
    scratch->weights[page][k][lane] =
        make_uint4(Pack<T>(scores[2 * k][0], scores[2 * k][1]),
                   Pack<T>(scores[2 * k][2], scores[2 * k][3]),
                   Pack<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                   Pack<T>(scores[2 * k + 1][2], scores[2 * k + 1][3]));
  }
}

// A warp's quarter of the dimensions of a split's result.
struct QuarterSums {
  float out[2][4] = {};
  SoftmaxState row[2];
};

// Adds page after page; `values` of page i are in slot i after `first`.
template <typename T>
__device__ __forceinline__ void AddPage(const GroupScratch& scratch, int page, const T* values,
                                        QuarterSums* sums) {
  const int lane = threadIdx.x % 32, quarter = threadIdx.x / 32 % kGroupWarps;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    const float max = fmaxf(scratch.max[page][row], sums->row[r].max);
    const float base = max == -INFINITY ? 0.0f : max;
    const float factor = Exp2(sums->row[r].max - base);
    sums->row[r].total = __fmaf_rn(sums->row[r].total, factor, scratch.total[page][row]);
    sums->row[r].max = max;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      sums->out[n][2 * r] *= factor;
      sums->out[n][2 * r + 1] *= factor;
    }
  }
#pragma unroll
  for (int k = 0; k < kPageTokens / 16; ++k) {
    const uint4 w = scratch.weights[page][k][lane];
    const uint32_t a[4] = {w.x, w.y, w.z, w.w};
    uint32_t b[4];
    LoadMatrices4Transposed(values + TileOffset<kStepHeadDim>(
                                         16 * k + lane % 16, 16 * quarter + lane / 16 * 8),
                            b);
    Mma<T>(sums->out[0], a, b[0], b[1]);
    Mma<T>(sums->out[1], a, b[2], b[3]);
  }
}

__device__ __forceinline__ float* PartialOf(const DecodeStepParams& p, int token, int head) {
  return p.partials + (int64_t{token} * p.num_heads + head) * p.max_splits * kPartialFloats;
}

__device__ __forceinline__ void StorePartial(const DecodeStepParams& p, const AttentionUnit& unit,
                                             const QuarterSums& sums) {
  const int group = p.num_heads / p.num_kv_heads, lane = threadIdx.x % 32;
  const int quarter = threadIdx.x / 32 % kGroupWarps;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    if (row >= group) continue;
    float* partial =
        PartialOf(p, unit.token, unit.kv_head * group + row) + unit.split * kPartialFloats;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      *reinterpret_cast<float2*>(partial + 16 * quarter + 8 * n + lane % 4 * 2) =
          make_float2(sums.out[n][2 * r], sums.out[n][2 * r + 1]);
    }
    if (quarter == 0 && lane % 4 == 0) {
      *reinterpret_cast<float2*>(partial + kStepHeadDim) =
          make_float2(sums.row[r].max, sums.row[r].total);
    }
  }
}

// A token's projections: queries, keys, values.
__device__ __forceinline__ const float* QkvOf(const DecodeStepParams& p, int token) {
  return p.qkv + int64_t{token} * (p.num_heads + 2 * p.num_kv_heads) * kStepHeadDim;
}

__device__ __forceinline__ void LoadUnitQueries(const DecodeStepParams& p,
                                                const AttentionUnit& unit, PlainQueries* q) {
  const int group = p.num_heads / p.num_kv_heads;
  LoadPlainQueries(QkvOf(p, unit.token) + unit.kv_head * group * kStepHeadDim, group, q);
}

// One unit, by a warpgroup. `at`: the slot of its first page.
template <typename T>
__device__ __forceinline__ void AttendUnit(const DecodeStepParams& p, const AttentionUnit& unit,
                                           const WarpRows<T, kStepHeadDim>& rows,
                                           const NewestToken& newest, float scale_log2,
                                           const StreamRing& ring, StreamPosition at,
                                           GroupScratch* scratch) {
  const int page = threadIdx.x / 32 % kGroupWarps, lane = threadIdx.x % 32;
  const bool active = page < unit.pages;
  StreamPosition mine = at;
  mine.Advance(page, ring.count);
  float scores[8][4];
  if (active) {
    ring.Await(mine);
    T* const keys = reinterpret_cast<T*>(ring.data(mine));
    if (newest.here) PutNewestInBoth(newest, p.rope_interleaved, rows.position[0], keys);
    Scores<T, kStepHeadDim>(rows, keys, (unit.split * kPagesPerSplit + page) * kPageTokens,
                            scale_log2, scores);
    const float max[2] = {RowMax(scores, 0), RowMax(scores, 1)};
    if (lane % 4 == 0) scratch->max[page][lane / 4] = max[0];
    if (lane % 4 == 0) scratch->max[page][lane / 4 + 8] = max[1];
  }
  GroupSync();
  if (active) StoreWeights<T>(scores, page, scratch);
  GroupSync();
  QuarterSums sums;
  StreamPosition from = at;
#pragma unroll
  for (int i = 0; i < kPagesPerSplit; ++i) {
    if (i >= unit.pages) break;
    AddPage(*scratch, i, reinterpret_cast<const T*>(ring.data(from)) + kTileElements<kStepHeadDim>,
            &sums);
    from.Advance(1, ring.count);
  }
  GroupSync();  // all have read all pages, and the scratch
  if (active) ring.Release(mine);
  StorePartial(p, unit, sums);
}

// All of the block's units, by its warpgroups in turn. All warps that compute come here.
template <typename T>
__device__ __forceinline__ void AttendUnits(const DecodeStepParams& p, const StepPlan& plan,
                                            int layer, const float* rotations, float scale_log2,
                                            GroupScratch* scratches, ConsumerState* state) {
  const Deal deal = state->dealer.Take(plan.phases[kAttend]);
  const int group = threadIdx.x / 32 / kGroupWarps;
  PlainQueries queries;
  if (group < deal.count) {
    LoadUnitQueries(p, UnitOf(plan, p.num_kv_heads, deal.item(group)), &queries);
  }
  for (int i = 0; i < deal.count; ++i) {
    const AttentionUnit unit = UnitOf(plan, p.num_kv_heads, deal.item(i));
    if (i % 2 == group) {
      const float* at = rotations + unit.token * kStepHeadDim;
      const Rotation rotation = {at, at + kStepHeadDim / 2};
      const NewestToken newest = NewestOf(p, plan, layer, unit, threadIdx.x / 32 % kGroupWarps,
                                          QkvOf(p, unit.token), rotation);
      WarpRows<T, kStepHeadDim> rows;
      rows.position[0] = rows.position[1] = plan.positions[unit.token];
      RotateQueries(queries, p.rope_interleaved, rotation, &rows);
      if (i + 2 < deal.count) {
        LoadUnitQueries(p, UnitOf(plan, p.num_kv_heads, deal.item(i + 2)), &queries);
      }
      AttendUnit<T>(p, unit, rows, newest, scale_log2, state->ring, state->at, &scratches[group]);
    }
    state->at.Advance(unit.pages, state->ring.count);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
