#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/block_scores.h"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

// Of all threads; `shared` holds a value a warp. The order depends on nothing but the values.
template <typename T, typename Op>
__device__ __forceinline__ T Reduce(T value, T* shared, Op op) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = op(value, __shfl_xor_sync(~0u, value, lanes));
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  T result = shared[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) result = op(result, shared[w]);
  __syncthreads();
  return result;
}

// An order of scores, which are not negative, in unsigned numbers; NaN is the least.
__device__ __forceinline__ uint32_t KeyOf(float score) {
  return isnan(score) ? 0 : __float_as_uint(score) + 1;
}

// The largest key that at least `wanted` of the keys are not below.
__device__ uint32_t Threshold(const uint32_t* keys, int count, int wanted, int* shared) {
  uint32_t threshold = 0;
  for (int bit = 30; bit >= 0; --bit) {
    const uint32_t candidate = threshold | 1u << bit;
    int not_below = 0;
    for (int b = threadIdx.x; b < count; b += kThreads) not_below += keys[b] >= candidate;
    not_below = Reduce(not_below, shared, [](int x, int y) { return x + y; });
    if (not_below >= wanted) threshold = candidate;
    if (not_below == wanted) break;
  }
  return threshold;
}

// scores[b] += the row's probability of candidate b.
__device__ void AddProbabilities(const float* logits, int count, float* scores, float* shared) {
  float max = -INFINITY, total = 0;
  for (int b = threadIdx.x; b < count; b += kThreads) max = fmaxf(max, logits[b]);
  max = Reduce(max, shared, [](float x, float y) { return fmaxf(x, y); });
  for (int b = threadIdx.x; b < count; b += kThreads) total += expf(logits[b] - max);
  total = Reduce(total, shared, [](float x, float y) { return x + y; });
  for (int b = threadIdx.x; b < count; b += kThreads) {
    scores[b] += __fdiv_rn(expf(logits[b] - max), total);
  }
}

// A thread block a (choice, key/value head).
__global__ void __launch_bounds__(kThreads) SelectKernel(SelectBlocksParams p) {
  extern __shared__ uint32_t keys[];  // [max_candidates]; scores first
  __shared__ int counts[kWarps];
  __shared__ float floats[kWarps];
  float* const scores = reinterpret_cast<float*>(keys);
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.x];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch);
  const Candidates candidates =
      CandidatesOf(piece.tile.position / kPageTokens, p.batch.sink_blocks, p.batch.window_blocks);
  const int count = candidates.count(), wanted = min(static_cast<int>(p.num_selected), count);
  const int64_t first_row = piece.first_row - p.batch.first_row;
  const auto write = [&](int place, int candidate) {
    for (int t = 0; t < piece.tile.num_tokens; ++t) {
      p.selected[((first_row + t) * a.num_kv_heads + kv_head) * p.num_selected + place] =
          candidates.begin + candidate;
    }
  };
  if (wanted == count) {
    for (int b = threadIdx.x; b < count; b += kThreads) write(b, b);
    return;
  }
  for (int b = threadIdx.x; b < count; b += kThreads) scores[b] = 0;
  for (int row = 0; row < piece.tile.num_tokens * group; ++row) {
    const int64_t at = (first_row + row / group) * a.num_heads + kv_head * group + row % group;
    AddProbabilities(p.logits + at * p.max_candidates, count, scores, floats);
  }
  for (int b = threadIdx.x; b < count; b += kThreads) keys[b] = KeyOf(scores[b]);
  __syncthreads();
  const uint32_t threshold = Threshold(keys, count, wanted, counts);
  int above = 0;
  for (int b = threadIdx.x; b < count; b += kThreads) above += keys[b] > threshold;
  above = Reduce(above, counts, [](int x, int y) { return x + y; });
  // Of those that are equal to the threshold the first ones. A warp writes, in order.
  if (threadIdx.x >= 32) return;
  int equal = wanted - above, place = 0;
  for (int first = 0; first < count && place < wanted; first += 32) {
    const int b = first + static_cast<int>(threadIdx.x);
    const uint32_t before = (1u << threadIdx.x) - 1;
    const bool ties = b < count && keys[b] == threshold;
    const uint32_t tied = __ballot_sync(~0u, ties);
    const bool is_selected =
        (b < count && keys[b] > threshold) || (ties && __popc(tied & before) < equal);
    const uint32_t bits = __ballot_sync(~0u, is_selected);
    if (is_selected) write(place + __popc(bits & before), b);
    equal -= min(equal, __popc(tied));
    place += __popc(bits);
  }
}

}  // namespace

cudaError_t SelectBlocks(const SelectBlocksParams& params, cudaStream_t stream) {
  if (params.batch.num_pieces == 0 || params.num_selected == 0) return cudaSuccess;
  if (params.max_candidates > kMostBlocks) return cudaErrorInvalidValue;
  static const cudaError_t allowed =
      AllowShared(SelectKernel, static_cast<int>(kMostBlocks * sizeof(uint32_t)));
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid(params.batch.num_pieces, params.batch.attention.num_kv_heads);
  SelectKernel<<<grid, kThreads, params.max_candidates * sizeof(uint32_t), stream>>>(params);
  return cudaGetLastError();
}

}  // namespace sieve::cuda
