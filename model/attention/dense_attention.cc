#include "model/attention/dense_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/paged_attention.h"

namespace sieve {
namespace {

// Query tokens that share a pass over the pages.
constexpr int64_t kTileTokens = 16;

}  // namespace

DenseAttention::DenseAttention(int64_t num_heads, int64_t num_kv_heads, int64_t head_dim)
    : num_heads_(num_heads), group_(num_heads / num_kv_heads), head_dim_(head_dim) {}

int64_t DenseAttention::ScratchFloats(const Batch&) const {
  return PagedAttentionScratchFloats(kTileTokens, group_, head_dim_);
}

void DenseAttention::Forward(const AttentionArgs& args, WorkerScratch scratch,
                             ThreadPool* pool) const {
  const Batch& batch = *args.batch;
  int64_t tiles = 0;
  for (const int32_t s : args.sequences) {
    const int64_t tokens = batch.offsets[s + 1] - batch.offsets[s];
    tiles += (tokens + kTileTokens - 1) / kTileTokens;
  }
  // A group's heads share a page best in one task; when that leaves too few tasks to balance, each
  // head is one.
  const int64_t kv_heads = num_heads_ / group_;
  const int64_t heads_a_task = tiles * kv_heads >= 4 * pool->num_threads() ? group_ : 1;
  const int64_t tasks_a_tile = num_heads_ / heads_a_task;
  pool->ParallelFor(tiles * tasks_a_tile, [&](int64_t task, int worker) {
    // Last tiles first: they have the longest contexts.
    int64_t tile = tiles - 1 - task / tasks_a_tile;
    int64_t s = 0;
    for (const int32_t candidate : args.sequences) {
      s = candidate;
      const int64_t tokens = batch.offsets[s + 1] - batch.offsets[s];
      const int64_t own = (tokens + kTileTokens - 1) / kTileTokens;
      if (tile < own) break;
      tile -= own;
    }
    const int64_t begin = batch.offsets[s] + tile * kTileTokens;
    const int64_t end = std::min<int64_t>(begin + kTileTokens, batch.offsets[s + 1]);
    const int64_t head = task % tasks_a_tile * heads_a_task;
    PagedAttention({.kv = args.kv,
                    .block_table = batch.block_tables.data() + s * batch.block_table_stride,
                    .q = args.q + begin * args.q_stride,
                    .q_stride = args.q_stride,
                    .out = args.out + begin * args.out_stride,
                    .out_stride = args.out_stride,
                    .tokens = end - begin,
                    .first_position = batch.positions[begin],
                    .group = group_,
                    .head_begin = head,
                    .head_end = head + heads_a_task,
                    .scale = 1.0f / std::sqrt(static_cast<float>(head_dim_))},
                   scratch.of(worker));
  });
}

}  // namespace sieve
