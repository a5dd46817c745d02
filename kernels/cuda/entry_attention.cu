#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/entry_attention.h"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kPieceThreads = kPieceRows / 16 * 32;
constexpr int kTileEntries = 64;  // as a page's tokens
constexpr int kTilesPerSplit = kEntriesPerSplit / kTileEntries;

// Blocks whose entries a piece's tokens may read.
struct EntryBlocks {
  int begin, end, num_selected;
  __device__ EntryBlocks(const EntryAttentionParams& p, const SparsePiece& piece) {
    const int own = piece.tile.position / kPageTokens;
    const Candidates c = CandidatesOf(own, p.batch.sink_blocks, p.batch.window_blocks);
    begin = p.all_blocks ? 0 : c.begin;
    end = p.all_blocks ? own : c.end;
    num_selected = p.all_blocks ? 0 : min(static_cast<int>(p.num_selected), c.count());
  }
};

__device__ __forceinline__ const int32_t* SelectedOf(const EntryAttentionParams& p,
                                                     const SparsePiece& piece, int token,
                                                     int kv_head) {
  const int64_t row = piece.first_row - p.batch.first_row + token;
  return p.selected + (row * p.batch.attention.num_kv_heads + kv_head) * p.num_selected;
}

// A tile of 64 consecutive entries in shared memory, number `index` of the sequence.
template <typename T, int kHeadDim>
struct EntryTile {
  T elements[2 * kTileElements<kHeadDim>];  // keys, values
  float biases[kTileEntries];               // over the scale; -inf: no entry

  // By all of kThreads threads.
  template <int kThreads>
  __device__ void Load(const EntryAttentionParams& p, const Place& place, const EntryBlocks& blocks,
                       int kv_head, int index) {
    constexpr int kChunks = kHeadDim / 8;
    const int per_block = static_cast<int>(p.layout.entries);
    for (int i = threadIdx.x; i < kTileEntries * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks, entry = index * kTileEntries + row;
      const int block = entry / per_block;
      const bool valid = block >= blocks.begin && block < blocks.end;
      const char* const summary =
          valid ? p.summaries.of(place.table[block], kv_head) +
                      (entry % per_block * kHeadDim + chunk * 8) * static_cast<int>(sizeof(T))
                : p.summaries.base;
      T* const to = elements + TileOffset<kHeadDim>(row, chunk * 8);
      CopyAsync16(to, valid ? summary + p.layout.entry_keys : summary, valid);
      CopyAsync16(to + kTileElements<kHeadDim>, valid ? summary + p.layout.entry_values : summary,
                  valid);
    }
    for (int row = threadIdx.x; row < kTileEntries; row += kThreads) {
      const int entry = index * kTileEntries + row, block = entry / per_block;
      float bias = block >= blocks.begin && block < blocks.end ? 0.0f : -INFINITY;
      if (bias == 0 && p.layout.entry_biases >= 0) {
        const char* const summary = p.summaries.of(place.table[block], kv_head);
        bias = __fdiv_rn(
            reinterpret_cast<const float*>(summary + p.layout.entry_biases)[entry % per_block],
            p.batch.attention.scale);
      }
      biases[row] = bias;
    }
  }
};

// Which entries of tile after tile one token has selected, and so does not read here.
struct SelectedEntries {
  const int32_t* selected = nullptr;  // ascending
  int count = 0, next = 0;

  __device__ uint64_t In(int index, int per_block) {
    const int first = index * kTileEntries / per_block, blocks = kTileEntries / per_block;
    uint64_t bits = 0;
    for (; next < count && selected[next] < first + blocks; ++next) {
      if (selected[next] < first) continue;
      bits |= ((uint64_t{1} << per_block) - 1) << (selected[next] - first) * per_block;
    }
    return bits;
  }
};

// Adds a tile to a warp's rows; excluded: of each row's token.
template <typename T, int kHeadDim>
__device__ __forceinline__ void AttendTile(const WarpRows<T, kHeadDim>& rows,
                                           const EntryTile<T, kHeadDim>& tile,
                                           const uint64_t (&excluded)[2], float scale_log2,
                                           WarpSums<kHeadDim>* sums) {
  float scores[8][4];
  Scores<T, kHeadDim>(rows, tile.elements, scores);
#pragma unroll
  for (int j = 0; j < 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int entry = 8 * j + threadIdx.x % 4 * 2 + i % 2;
      scores[j][i] = (excluded[i / 2] >> entry & 1) != 0
                         ? -INFINITY
                         : __fadd_rn(scores[j][i], tile.biases[entry]);
    }
  }
  AddScores<T, kHeadDim>(scores, tile.elements + kTileElements<kHeadDim>, scale_log2, sums);
}

// A thread block a piece and a key/value head.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kPieceThreads)
    EntryPieceKernel(EntryAttentionParams p, float scale_log2) {
  extern __shared__ __align__(128) char shared_bytes[];
  EntryTile<T, kHeadDim>* const tiles = reinterpret_cast<EntryTile<T, kHeadDim>*>(shared_bytes);
  __shared__ uint64_t excluded_of[2][kPieceRows];
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[gridDim.x - 1 - blockIdx.x];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch);
  const int first_row = threadIdx.x / 32 * 16, per_block = static_cast<int>(p.layout.entries);
  const EntryBlocks blocks(p, piece);
  const Place place(a, piece.tile, kv_head);
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(a, piece.tile, kv_head, first_row, &rows, offset);
  int token[2];
  for (int r = 0; r < 2; ++r) {
    token[r] = min((first_row + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * r) / group,
                   piece.tile.num_tokens - 1);
  }
  // A thread a token.
  SelectedEntries selected;
  const bool follows = threadIdx.x < piece.tile.num_tokens;
  if (follows && blocks.num_selected > 0) {
    selected = {SelectedOf(p, piece, threadIdx.x, kv_head), blocks.num_selected};
  }
  const int end = (blocks.end * per_block + kTileEntries - 1) / kTileEntries;
  const auto load = [&](int index) {
    if (index < end) {
      tiles[index % 2].template Load<kPieceThreads>(p, place, blocks, kv_head, index);
      if (follows) excluded_of[index % 2][threadIdx.x] = selected.In(index, per_block);
    }
    CommitCopies();
  };
  WarpSums<kHeadDim> total, split;
  Clear(&total);
  Clear(&split);
  // Tiles are counted from the sequence's first entry, whatever is read of them.
  const int begin = blocks.begin < blocks.end ? blocks.begin * per_block / kTileEntries : end;
  load(begin);
  for (int index = begin; index < end; ++index) {
    load(index + 1);
    WaitForCopies<1>();
    __syncthreads();
    const uint64_t excluded[2] = {excluded_of[index % 2][token[0]],
                                  excluded_of[index % 2][token[1]]};
    AttendTile<T, kHeadDim>(rows, tiles[index % 2], excluded, scale_log2, &split);
    if (index % kTilesPerSplit == kTilesPerSplit - 1) {
      for (int r = 0; r < 2; ++r) MergeRow(r, split.row[r], split, &total);
      Clear(&split);
    }
    __syncthreads();  // all have read what the next load overwrites
  }
  for (int r = 0; r < 2; ++r) MergeRow(r, split.row[r], split, &total);
  StoreSparsePartial(p.batch, piece, kv_head, first_row, p.partials, 1, 0, total);
}

// A block of one warp: a split of one token's entries.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32) EntryTokenKernel(EntryAttentionParams p, float scale_log2) {
  extern __shared__ __align__(128) char shared_bytes[];
  EntryTile<T, kHeadDim>* const tiles = reinterpret_cast<EntryTile<T, kHeadDim>*>(shared_bytes);
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int kv_head = blockIdx.y, split = blockIdx.x;
  const int per_block = static_cast<int>(p.layout.entries);
  const EntryBlocks blocks(p, piece);
  const int begin = max(split * kTilesPerSplit, blocks.begin * per_block / kTileEntries);
  const int end =
      min((split + 1) * kTilesPerSplit, (blocks.end * per_block + kTileEntries - 1) / kTileEntries);
  if (begin >= end || blocks.begin >= blocks.end) {
    return StoreNothing(p.batch, piece, kv_head, p.partials, p.max_splits, split);
  }
  const Place place(a, piece.tile, kv_head);
  for (int index = begin; index < end; ++index) {
    tiles[index - begin].template Load<32>(p, place, blocks, kv_head, index);
    CommitCopies();
  }
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(a, piece.tile, kv_head, 0, &rows, offset);
  SelectedEntries selected;
  if (blocks.num_selected > 0) {
    selected = {SelectedOf(p, piece, 0, kv_head), blocks.num_selected};
  }
  WarpSums<kHeadDim> sums;
  Clear(&sums);
  WaitForCopies<0>();
  __syncwarp();
  for (int index = begin; index < end; ++index) {
    const uint64_t bits = selected.In(index, per_block), excluded[2] = {bits, bits};
    AttendTile<T, kHeadDim>(rows, tiles[index - begin], excluded, scale_log2, &sums);
  }
  StoreSparsePartial(p.batch, piece, kv_head, 0, p.partials, p.max_splits, split, sums);
}

// A cache of floats: a warp a (token, head).
template <int kParts>
__global__ void __launch_bounds__(32) EntryFloatKernel(EntryAttentionParams p) {
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int token = blockIdx.y, head = blockIdx.x, d = static_cast<int>(a.kv.head_dim);
  if (token >= piece.tile.num_tokens) return;
  const int kv_head = head / GroupOf(p.batch), per_block = static_cast<int>(p.layout.entries);
  const EntryBlocks blocks(p, piece);
  const Place place(a, piece.tile, kv_head);
  const float* const query =
      static_cast<const float*>(a.q) + ((piece.tile.first_token + token) * a.num_heads + head) * d;
  const float log2e = static_cast<float>(M_LOG2E);
  float q[kParts];
  for (int i = 0; i < kParts; ++i) {
    const int e = threadIdx.x + 32 * i;
    q[i] = e < d ? query[e] * a.scale * log2e : 0;
  }
  const int32_t* const selected = SelectedOf(p, piece, token, kv_head);
  int followed = 0;
  FloatSums<kParts> sums;
  for (int block = blocks.begin; block < blocks.end; ++block) {
    if (followed < blocks.num_selected && selected[followed] == block) {
      ++followed;
      continue;
    }
    const char* const summary = p.summaries.of(place.table[block], kv_head);
    const float* const keys = reinterpret_cast<const float*>(summary + p.layout.entry_keys);
    const float* const values = reinterpret_cast<const float*>(summary + p.layout.entry_values);
    const float* const biases = reinterpret_cast<const float*>(summary + p.layout.entry_biases);
    for (int entry = 0; entry < per_block; ++entry) {
      float score = 0;
      for (int i = 0; i < kParts; ++i) {
        const int e = threadIdx.x + 32 * i;
        if (e < d) score = __fmaf_rn(q[i], keys[entry * d + e], score);
      }
      score = WarpSum(score);
      if (p.layout.entry_biases >= 0) score = __fmaf_rn(biases[entry], log2e, score);
      sums.Add(score, values + entry * d, d);
    }
  }
  sums.Store(d, p.partials + PartialOffset(p.batch, piece, token, head, p.max_splits, 0));
  for (int split = 1; split < p.max_splits && head % GroupOf(p.batch) == 0; ++split) {
    StoreNothing(p.batch, piece, kv_head, p.partials, p.max_splits, split);
  }
}

template <typename T, int kHeadDim>
cudaError_t Launch(const EntryAttentionParams& params, cudaStream_t stream) {
  static_assert(kTilesPerSplit == 2);
  const PagedAttentionParams& a = params.batch.attention;
  const float scale_log2 = ScaleLog2(a);
  constexpr int kBytes = 2 * static_cast<int>(sizeof(EntryTile<T, kHeadDim>));
  if (params.max_splits > 1) {
    static const cudaError_t allowed = AllowShared(EntryTokenKernel<T, kHeadDim>, kBytes);
    if (allowed != cudaSuccess) return allowed;
    const dim3 grid(params.max_splits, a.num_kv_heads, params.batch.num_pieces);
    EntryTokenKernel<T, kHeadDim><<<grid, 32, kBytes, stream>>>(params, scale_log2);
    return cudaGetLastError();
  }
  static const cudaError_t allowed = AllowShared(EntryPieceKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid(params.batch.num_pieces, a.num_kv_heads);
  EntryPieceKernel<T, kHeadDim><<<grid, kPieceThreads, kBytes, stream>>>(params, scale_log2);
  return cudaGetLastError();
}

}  // namespace

cudaError_t EntryAttention(const EntryAttentionParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const int64_t group = a.num_heads / a.num_kv_heads;
  if (params.batch.num_pieces == 0) return cudaSuccess;
  if (!AttentionSupports(a.kv.head_dim, group)) return cudaErrorInvalidValue;
  if (a.kv.dtype == DType::kF32) {
    const dim3 grid(a.num_heads, params.batch.max_tokens, params.batch.num_pieces);
    EntryFloatKernel<8><<<grid, 32, 0, stream>>>(params);
    return cudaGetLastError();
  }
  return Dispatch(a, [&](auto element, auto head_dim) {
    return Launch<decltype(element), decltype(head_dim)::value>(params, stream);
  });
}

}  // namespace sieve::cuda
