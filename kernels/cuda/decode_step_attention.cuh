#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_

// Attention of a decoding step: a warp a split, its pages from the ring. The newest token's key and
// value come from this step's projections; the warp that reads their page rotates them, puts them
// into the page in shared memory and in device memory.

#include <cstdint>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/decode_step_plan.cuh"
#include "kernels/cuda/decode_step_products.cuh"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"

namespace sieve::cuda {

inline constexpr int kStepHeadDim = 64;
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

// The queries of a unit's rows (heads of the group), rotated. `head` [group, 64] floats.
template <typename T>
__device__ __forceinline__ void RotatedQueries(const float* heads, int group, bool interleaved,
                                               const Rotation& rotation,
                                               WarpRows<T, kStepHeadDim>* rows) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = threadIdx.x % 32 / 4 + 8 * r;
    const float* q = heads + row * kStepHeadDim;
    // Elements 16 k + 8 h + 2 t and the next are fragment [k][2 h + r].
    float2 values[4][2];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i / 2][i % 2] = row < group
                                 ? __ldcg(reinterpret_cast<const float2*>(q + 8 * i + 2 * t))
                                 : make_float2(0, 0);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float2& v = values[i / 2][i % 2];
      const int dim = 8 * i + 2 * t;
      if (interleaved) {
        v = Rotate(v.x, v.y, rotation.cosines[dim / 2], rotation.sines[dim / 2]);
      } else if (i < 4) {
        float2& w = values[i / 2 + 2][i % 2];
        const float2 x = Rotate(v.x, w.x, rotation.cosines[dim], rotation.sines[dim]);
        const float2 y = Rotate(v.y, w.y, rotation.cosines[dim + 1], rotation.sines[dim + 1]);
        v = make_float2(x.x, y.x);
        w = make_float2(x.y, y.y);
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float2 v = values[i / 2][i % 2];
      rows->q[i / 2][i % 2 * 2 + r] = Pack<T>(v.x, v.y);
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

// A warp's unit of attention.
template <typename T>
struct UnitWork {
  AttentionUnit unit;
  int position = 0;
  bool has_newest = false;
  T* newest_page = nullptr;  // in device memory
  NewestPair newest;
  WarpRows<T, kStepHeadDim> rows;
  WarpSums<kStepHeadDim> sums;
};

template <typename T>
__device__ __forceinline__ void SetUpUnit(const DecodeStepParams& p, int layer,
                                          const AttentionUnit& unit, const Rotation& rotation,
                                          UnitWork<T>* work) {
  const int group = p.num_heads / p.num_kv_heads, lane = threadIdx.x % 32;
  work->unit = unit;
  work->position = p.positions[unit.token];
  work->rows.position[0] = work->rows.position[1] = work->position;
  const float* qkv =
      p.qkv + int64_t{unit.token} * (p.num_heads + 2 * p.num_kv_heads) * kStepHeadDim;
  work->has_newest = unit.split == work->position / kSplitTokens;
  if (work->has_newest) {
    const float* key = qkv + (p.num_heads + unit.kv_head) * kStepHeadDim;
    const float* value = key + p.num_kv_heads * kStepHeadDim;
    const int2 dims = PairDims(p.rope_interleaved, lane);
    work->newest.value = __ldcg(reinterpret_cast<const float2*>(value + 2 * lane));
    work->newest.key = Rotate(__ldcg(key + dims.x), __ldcg(key + dims.y), rotation.cosines[lane],
                              rotation.sines[lane]);
    const int32_t page = p.block_tables[p.sequences[unit.token] * p.block_table_stride +
                                        work->position / kPageTokens];
    work->newest_page =
        reinterpret_cast<T*>(p.kv.base + layer * p.layer_stride + page * p.kv.page_stride +
                             unit.kv_head * p.kv.head_stride);
  }
  RotatedQueries<T>(qkv + unit.kv_head * group * kStepHeadDim, group, p.rope_interleaved, rotation,
                    &work->rows);
  Clear(&work->sums);
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

// Page `step` of the unit, in shared memory. All lanes of the warp.
template <typename T>
__device__ __forceinline__ void AttendStep(const DecodeStepParams& p, T* page, int step,
                                           float scale_log2, UnitWork<T>* work) {
  const bool newest = work->has_newest && step == work->unit.pages - 1;
  if (newest) {
    const int2 dims = PairDims(p.rope_interleaved, threadIdx.x % 32);
    const int slot = work->position % kPageTokens;
    ClearRowsAfter(page + kPageTokens * kStepHeadDim, slot);
    PutNewest(work->newest, dims, slot, page);
    PutNewest(work->newest, dims, slot, work->newest_page);
    __syncwarp();
  }
  const int first_key = (work->unit.split * kPagesPerSplit + step) * kPageTokens;
  AttendPage<T, kStepHeadDim>(work->rows, page, first_key, scale_log2, &work->sums);
  // What was stored here comes before what the copy engine writes next.
  if (newest) asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ float* PartialOf(const DecodeStepParams& p, int token, int head) {
  return p.partials + (int64_t{token} * p.num_heads + head) * p.max_splits * kPartialFloats;
}

template <typename T>
__device__ __forceinline__ void StorePartial(const DecodeStepParams& p, const UnitWork<T>& work) {
  const int group = p.num_heads / p.num_kv_heads, lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    if (row >= group) continue;
    float* partial = PartialOf(p, work.unit.token, work.unit.kv_head * group + row) +
                     work.unit.split * kPartialFloats;
#pragma unroll
    for (int n = 0; n < kStepHeadDim / 8; ++n) {
      *reinterpret_cast<float2*>(partial + 8 * n + lane % 4 * 2) =
          make_float2(work.sums.out[n][2 * r], work.sums.out[n][2 * r + 1]);
    }
    if (lane % 4 == 0) {
      *reinterpret_cast<float2*>(partial + kStepHeadDim) =
          make_float2(work.sums.row[r].max, work.sums.row[r].total);
    }
  }
}

// All of the block's units. All warps that compute come here.
template <typename T>
__device__ __forceinline__ void AttendUnits(const DecodeStepParams& p, int layer,
                                            const int* unit_begins, const float* rotations,
                                            float scale_log2, ConsumerState* state) {
  const Deal deal = state->dealer.Take(unit_begins[p.num_tokens]);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int most_units = TasksARound(state->ring.count);
  for (int i = 0; i < deal.count; i += most_units) {
    const int units = min(most_units, deal.count - i);
    const int pages = lane < units ? UnitOf(p, unit_begins, deal.item(i + lane)).pages : 0;
    const int steps = __reduce_max_sync(~0u, pages);
    if (warp < units) {
      UnitWork<T> work;
      const AttentionUnit unit = UnitOf(p, unit_begins, deal.item(i + warp));
      const float* rotation = rotations + unit.token * kStepHeadDim;
      SetUpUnit(p, layer, unit, {rotation, rotation + kStepHeadDim / 2}, &work);
      StreamPosition mine = state->at;
      mine.Advance(warp, state->ring.count);
      for (int step = 0; step < steps; ++step) {
        state->ring.Await(mine);
        if (step < unit.pages) {
          AttendStep(p, reinterpret_cast<T*>(state->ring.data(mine)), step, scale_log2, &work);
        }
        state->ring.Release(mine);
        mine.Advance(units, state->ring.count);
      }
      StorePartial(p, work);
    }
    state->at.Advance(units * steps, state->ring.count);
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_ATTENTION_CUH_
