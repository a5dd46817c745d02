#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_

// Attention of a decoding step: four warps a split of four pages, which come from the ring. Each
// computes the weights of one page's keys, then a quarter of the dimensions for all pages: with the
// page by page order of attention_split.cuh, but most of it side by side. The newest token's key
// and value come from this step's projections; the warp that reads their page rotates them, puts
// them into the page in shared memory and in device memory.

#include <cstdint>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/decode_step_products.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/weight_stream.cuh"

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

// Rotated queries [num_tokens, num_heads] in shared memory; ldmatrix meets no bank twice.
inline constexpr int kQueryStride = kStepHeadDim + 8;

// A token's projections: queries, keys, values.
__device__ __forceinline__ const float* QkvOf(const DecodeStepParams& p, int token) {
  return p.qkv + int64_t{token} * (p.num_heads + 2 * p.num_kv_heads) * kStepHeadDim;
}

// By all threads that compute: a warp a head, a lane a pair. `rotations` [num_tokens][64].
template <typename T>
__device__ __forceinline__ void StoreQueries(const DecodeStepParams& p, const float* rotations,
                                             T* queries) {
  constexpr int kAhead = 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int2 dims = PairDims(p.rope_interleaved, lane);
  for (int t = 0; t < p.num_tokens; ++t) {
    const float cosine = rotations[t * kStepHeadDim + lane];
    const float sine = rotations[t * kStepHeadDim + lane + kStepHeadDim / 2];
    for (int first = warp; first < p.num_heads; first += kAhead * kConsumerWarps) {
      float2 q[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int head = min(first + i * kConsumerWarps, p.num_heads - 1);
        const float* from = QkvOf(p, t) + head * kStepHeadDim;
        q[i] = make_float2(__ldcg(from + dims.x), __ldcg(from + dims.y));
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int head = min(first + i * kConsumerWarps, p.num_heads - 1);
        T* const to = queries + (t * p.num_heads + head) * kQueryStride;
        const float2 rotated = Rotate(q[i].x, q[i].y, cosine, sine);
        to[dims.x] = FromFloat<T>(rotated.x);
        to[dims.y] = FromFloat<T>(rotated.y);
      }
    }
  }
}

// Fragments of a unit's rows, the heads of its group; rows that do not exist are those of the last.
template <typename T>
__device__ __forceinline__ void LoadUnitQueries(const T* queries, int group,
                                                WarpRows<T, kStepHeadDim>* rows) {
  const int lane = threadIdx.x % 32;
  const T* const row = queries + min(lane % 16, group - 1) * kQueryStride + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kStepHeadDim / 16; ++k) LoadMatrices4(row + 16 * k, rows->q[k]);
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
  float max[kPagesPerSplit][16];                        // of a page's scores, in units of log2
  float total[kPagesPerSplit][16];                      // of a page's weights
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
  ClearRowsFrom<T, kStepHeadDim>(page + kPageTokens * kStepHeadDim, slot + 1);
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

// Turns a page's scores into weights relative to the largest score of its split so far. Rows 8 ..
// only if there are such (both); what else is in their places does not matter.
template <typename T>
__device__ __forceinline__ void StoreWeights(float (&scores)[8][4], int page, bool both,
                                             float scale_log2, GroupScratch* scratch) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (r == 1 && !both) break;
    const int row = lane / 4 + 8 * r;
    float max = -INFINITY;
    for (int before = 0; before <= page; ++before) max = fmaxf(max, scratch->max[before][row]);
    const float total = RowTotal(WeighRow(r, BaseOf(max), scale_log2, scores));
    if (lane % 4 == 0) scratch->total[page][row] = total;
  }
#pragma unroll
  for (int k = 0; k < kPageTokens / 16; ++k) {
    uint32_t a[4];
    PackWeights<T>(scores, k, a);
    scratch->weights[page][k][lane] = make_uint4(a[0], a[1], a[2], a[3]);
  }
}

// A warp's quarter of the dimensions of a split's result.
struct QuarterSums {
  float out[2][4] = {};
  SoftmaxState row[2];
};

// Page after page.
template <typename T>
__device__ __forceinline__ void AddPage(const GroupScratch& scratch, int page, bool both,
                                        const T* values, QuarterSums* sums) {
  const int lane = threadIdx.x % 32, quarter = threadIdx.x / 32 % kGroupWarps;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (r == 1 && !both) break;
    const int row = lane / 4 + 8 * r;
    const float max = fmaxf(scratch.max[page][row], sums->row[r].max);
    const float factor = Exp2(__fsub_rn(sums->row[r].max, BaseOf(max)));
    sums->row[r].total = __fmaf_rn(sums->row[r].total, factor, scratch.total[page][row]);
    sums->row[r].max = max;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      sums->out[n][2 * r] = __fmul_rn(sums->out[n][2 * r], factor);
      sums->out[n][2 * r + 1] = __fmul_rn(sums->out[n][2 * r + 1], factor);
    }
  }
#pragma unroll
  for (int k = 0; k < kPageTokens / 16; ++k) {
    const uint4 w = scratch.weights[page][k][lane];
    const uint32_t a[4] = {w.x, w.y, w.z, w.w};
    uint32_t b[4];
    LoadMatrices4Transposed(
        values + TileOffset<kStepHeadDim>(16 * k + lane % 16, 16 * quarter + lane / 16 * 8), b);
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

inline constexpr int kGroupSyncsAUnit = 3;

// One unit, by a warpgroup. `at`: the slot of its first page; `queries`: of its group.
template <typename T>
__device__ __forceinline__ void AttendUnit(const DecodeStepParams& p, const AttentionUnit& unit,
                                           int position, const T* queries,
                                           const NewestToken& newest, float scale_log2,
                                           const StreamRing& ring, StreamPosition at,
                                           GroupScratch* scratch) {
  const int page = threadIdx.x / 32 % kGroupWarps, lane = threadIdx.x % 32;
  const int group = p.num_heads / p.num_kv_heads;
  const bool active = page<unit.pages, both = group> 8;
  StreamPosition mine = at;
  mine.Advance(page, ring.count);
  float scores[8][4];
  if (active) {
    WarpRows<T, kStepHeadDim> rows;
    rows.position[0] = rows.position[1] = position;
    LoadUnitQueries(queries, group, &rows);
    ring.Await(mine);
    T* const keys = reinterpret_cast<T*>(ring.data(mine));
    if (newest.here) PutNewestInBoth(newest, p.rope_interleaved, position, keys);
    Scores<T, kStepHeadDim>(rows, keys, scores);
    MaskScores(rows.position, (unit.split * kPagesPerSplit + page) * kPageTokens, scores);
    const float max = __fmul_rn(RowMax(scores, 0), scale_log2);
    if (lane % 4 == 0) scratch->max[page][lane / 4] = max;
    if (both) {
      const float max_8 = __fmul_rn(RowMax(scores, 1), scale_log2);
      if (lane % 4 == 0) scratch->max[page][lane / 4 + 8] = max_8;
    }
  }
  GroupSync();
  if (active) StoreWeights<T>(scores, page, both, scale_log2, scratch);
  GroupSync();
  QuarterSums sums;
  StreamPosition from = at;
  for (int i = 0; i < unit.pages; ++i) {
    AddPage(*scratch, i, both,
            reinterpret_cast<const T*>(ring.data(from)) + kTileElements<kStepHeadDim>, &sums);
    from.Advance(1, ring.count);
  }
  GroupSync();  // all have read all pages, and the scratch
  if (active) ring.Release(mine);
  StorePartial(p, unit, sums);
}

// All of the block's units, by its warpgroups in turn. All warps that compute come here. `queries`:
// shared memory for all rotated queries.
template <typename T>
__device__ __forceinline__ void AttendUnits(const DecodeStepParams& p, const StepPlan& plan,
                                            int layer, const float* rotations, float scale_log2,
                                            T* queries, GroupScratch* scratches,
                                            ConsumerState* state) {
  const Deal deal = state->dealer.Take(plan.phases[kAttend]);
  if (deal.count == 0) return;
  const int group = threadIdx.x / 32 / kGroupWarps, heads = p.num_heads / p.num_kv_heads;
  const auto newest_of = [&](int i) {
    const AttentionUnit unit = UnitOf(plan, p.num_kv_heads, deal.item(i));
    const float* at = rotations + unit.token * kStepHeadDim;
    return NewestOf(p, plan, layer, unit, static_cast<int>(threadIdx.x) / 32 % kGroupWarps,
                    QkvOf(p, unit.token), {at, at + kStepHeadDim / 2});
  };
  NewestToken newest;
  if (group < deal.count) newest = newest_of(group);
  StoreQueries(p, rotations, queries);
  ConsumerSync();
  for (int i = 0; i < deal.count; ++i) {
    const AttentionUnit unit = UnitOf(plan, p.num_kv_heads, deal.item(i));
    if (i % 2 == group) {
      if (i >= 2) newest = newest_of(i);
      AttendUnit<T>(p, unit, plan.positions[unit.token],
                    queries + (unit.token * p.num_heads + unit.kv_head * heads) * kQueryStride,
                    newest, scale_log2, state->ring, state->at, &scratches[group]);
    }
    state->at.Advance(unit.pages, state->ring.count);
  }
  // Both groups pass as many barriers: racecheck, which goes by how many a warp has passed, would
  // else see races between them ever after.
  if (deal.count % 2 == 1 && group == 1) {
    for (int i = 0; i < kGroupSyncsAUnit; ++i) GroupSync();
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
