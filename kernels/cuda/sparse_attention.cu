#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_attention.h"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kWarps = kPieceRows / 16;
constexpr int kThreads = kWarps * 32;

// What the tokens of a piece read.
struct Reads {
  int own, num_selected;
  Candidates candidates;
  bool base, chosen;

  __device__ Reads(const SparseAttentionParams& p, const SparsePiece& piece)
      : own(piece.tile.position / kPageTokens),
        candidates(CandidatesOf(own, p.batch.sink_blocks, p.batch.window_blocks)),
        base(p.base),
        chosen(p.chosen) {
    num_selected = min(static_cast<int>(p.num_selected), candidates.count());
  }
  __device__ bool is_candidate(int block) const {
    return block >= candidates.begin && block < candidates.end;
  }
  __device__ int low() const { return base ? candidates.begin : 0; }
  __device__ int middle() const { return chosen ? num_selected : 0; }
  __device__ int count() const { return low() + middle() + (base ? own + 1 - candidates.end : 0); }
  // Block i of one token's list, ascending.
  __device__ int operator()(int i, const int32_t* selected) const {
    if (i < low()) return i;
    if (i < low() + middle()) return selected[i - low()];
    return candidates.end + i - low() - middle();
  }
};

__device__ __forceinline__ const int32_t* SelectedOf(const SparseAttentionParams& p,
                                                     const SparsePiece& piece, int token,
                                                     int kv_head) {
  const int64_t row = piece.first_row - p.batch.first_row + token;
  return p.selected + (row * p.batch.attention.num_kv_heads + kv_head) * p.num_selected;
}

// The blocks that any token of a piece reads, as bits.
class BlockSet {
 public:
  __device__ explicit BlockSet(uint32_t* words) : words_(words) {}

  // By all threads, which may then ask.
  __device__ void Fill(const SparseAttentionParams& p, const SparsePiece& piece, int kv_head,
                       const Reads& reads) {
    const int words = reads.own / 32 + 1;
    for (int w = threadIdx.x; w < words; w += blockDim.x) {
      uint32_t bits = 0;
      for (int i = 0; reads.base && i < 32; ++i) {
        const int block = w * 32 + i;
        if (block <= reads.own && !reads.is_candidate(block)) bits |= 1u << i;
      }
      words_[w] = bits;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < reads.middle() * piece.tile.num_tokens; i += blockDim.x) {
      const int32_t block = SelectedOf(p, piece, i / reads.middle(), kv_head)[i % reads.middle()];
      atomicOr(&words_[block / 32], 1u << block % 32);
    }
    __syncthreads();
  }
  // The first block of the set from `block` on; past `own` when there is none.
  __device__ int From(int block, int own) const {
    if (block > own) return block;
    int w = block / 32;
    uint32_t bits = words_[w] & ~0u << block % 32;
    while (bits == 0) {
      if (++w > own / 32) return own + 1;
      bits = words_[w];
    }
    return w * 32 + __ffs(static_cast<int>(bits)) - 1;
  }

 private:
  uint32_t* const words_;
};

// A thread block a piece and a key/value head, for pieces of several tokens: their blocks one after
// the other, each of which only some of the tokens may read.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads)
    SparsePieceKernel(SparseAttentionParams p, float scale_log2) {
  constexpr int kPageElements = 2 * kTileElements<kHeadDim>;
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  const PagedAttentionParams& a = p.batch.attention;
  // Later pieces of a prompt read more.
  const SparsePiece piece = p.batch.pieces[gridDim.x - 1 - blockIdx.x];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), lane = threadIdx.x % 32;
  const int first_row = threadIdx.x / 32 * 16;
  const Reads reads(p, piece);
  BlockSet set(reinterpret_cast<uint32_t*>(shared + 2 * kPageElements));
  set.Fill(p, piece, kv_head, reads);
  const Place place(a, piece.tile, kv_head);
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(a, piece.tile, kv_head, first_row, &rows, offset);
  // Lane i follows the selected blocks of the warp's token i.
  const int first_token = first_row / group, token = first_token + lane;
  const bool follows =
      reads.middle() > 0 && token < piece.tile.num_tokens && token * group < first_row + 16;
  const int32_t* const selected = follows ? SelectedOf(p, piece, token, kv_head) : nullptr;
  int followed = 0;
  const int bit[2] = {(first_row + lane / 4) / group - first_token,
                      (first_row + lane / 4 + 8) / group - first_token};

  const auto load = [&](int block, int stage) {
    if (block <= reads.own) {
      LoadPage<T, kHeadDim, kThreads>(
          place.page(a, block), piece.tile.position + piece.tile.num_tokens - block * kPageTokens,
          shared + stage * kPageElements);
    }
    CommitCopies();
  };
  WarpSums<kHeadDim> total, split;
  Clear(&total);
  Clear(&split);
  int block = set.From(0, reads.own), stage = 0, four = block / kPagesPerSplit;
  load(block, stage);
  while (block <= reads.own) {
    const int next = set.From(block + 1, reads.own);
    load(next, 1 - stage);
    WaitForCopies<1>();
    __syncthreads();
    if (block / kPagesPerSplit != four) {
      for (int r = 0; r < 2; ++r) MergeRow(r, split.row[r], split, &total);
      Clear(&split);
      four = block / kPagesPerSplit;
    }
    uint32_t readers = ~0u;
    if (reads.is_candidate(block)) {
      const bool mine = follows && followed < reads.middle() && selected[followed] == block;
      followed += mine;
      readers = __ballot_sync(~0u, mine);
    }
    if (readers != 0) {
      int32_t position[2];
      for (int r = 0; r < 2; ++r) {
        position[r] = (readers >> bit[r] & 1) != 0 ? rows.position[r] : -1;
      }
      AttendPage<T, kHeadDim>(rows, position, shared + stage * kPageElements, block * kPageTokens,
                              scale_log2, &split);
    }
    __syncthreads();  // all have read what the next load overwrites
    block = next;
    stage = 1 - stage;
  }
  for (int r = 0; r < 2; ++r) MergeRow(r, split.row[r], split, &total);
  StoreSparsePartial(p.batch, piece, kv_head, first_row, p.partials, 1, 0, total);
}

// Where four number `wanted` of a list begins, or its length. By a warp.
__device__ int FindFour(const Reads& reads, const int32_t* selected, int wanted) {
  const int count = reads.count(), lane = threadIdx.x % 32;
  int before = 0;
  for (int first = 0; first < count; first += 32) {
    const int i = first + lane;
    const bool begins = i < count && (i == 0 || reads(i, selected) / kPagesPerSplit !=
                                                    reads(i - 1, selected) / kPagesPerSplit);
    uint32_t bits = __ballot_sync(~0u, begins);
    for (; bits != 0; bits &= bits - 1, ++before) {
      if (before == wanted) return first + __ffs(static_cast<int>(bits)) - 1;
    }
  }
  return count;
}

// A block of one warp: four neighbouring blocks of one token's list.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32) SparseTokenKernel(SparseAttentionParams p, float scale_log2) {
  extern __shared__ __align__(128) char shared_bytes[];
  T* const shared = reinterpret_cast<T*>(shared_bytes);
  constexpr int kStages = kHeadDim <= 64 ? kPagesPerSplit : 2;
  constexpr int kPageElements = 2 * kTileElements<kHeadDim>;
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int kv_head = blockIdx.y, split = blockIdx.x, lane = threadIdx.x;
  const Reads reads(p, piece);
  const int32_t* const selected = SelectedOf(p, piece, 0, kv_head);
  const int first = FindFour(reads, selected, split), count = reads.count();
  if (first == count) {
    return StoreNothing(p.batch, piece, kv_head, p.partials, p.max_splits, split);
  }
  const int four = reads(first, selected) / kPagesPerSplit;
  const int block = first + lane < count ? reads(first + lane, selected) : reads.own + 4;
  const int pages =
      __popc(__ballot_sync(~0u, lane < kPagesPerSplit && block / kPagesPerSplit == four));
  const Place place(a, piece.tile, kv_head);
  const auto load = [&](int page) {
    if (page < pages) {
      const int at = __shfl_sync(~0u, block, page);
      LoadPage<T, kHeadDim, 32>(place.page(a, at), piece.tile.position + 1 - at * kPageTokens,
                                shared + page % kStages * kPageElements);
    }
    CommitCopies();
  };
  for (int page = 0; page < kStages - 1; ++page) load(page);
  WarpRows<T, kHeadDim> rows;
  int64_t offset[2];
  SetUpRows<T, kHeadDim>(a, piece.tile, kv_head, 0, &rows, offset);
  WarpSums<kHeadDim> sums;
  Clear(&sums);
  for (int page = 0; page < pages; ++page) {
    load(page + kStages - 1);
    WaitForCopies<kStages - 1>();
    __syncwarp();
    AttendPage<T, kHeadDim>(rows, shared + page % kStages * kPageElements,
                            __shfl_sync(~0u, block, page) * kPageTokens, scale_log2, &sums);
    __syncwarp();
  }
  StoreSparsePartial(p.batch, piece, kv_head, 0, p.partials, p.max_splits, split, sums);
}

// A cache of floats: a warp a (token, head).
template <int kParts>
__global__ void __launch_bounds__(32) SparseFloatKernel(SparseAttentionParams p, float scale_log2) {
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int token = blockIdx.y, head = blockIdx.x, d = static_cast<int>(a.kv.head_dim);
  if (token >= piece.tile.num_tokens) return;
  const int kv_head = head / GroupOf(p.batch), position = piece.tile.position + token;
  const Reads reads(p, piece);
  const int32_t* const selected = SelectedOf(p, piece, token, kv_head);
  const Place place(a, piece.tile, kv_head);
  const float* const query =
      static_cast<const float*>(a.q) + ((piece.tile.first_token + token) * a.num_heads + head) * d;
  float q[kParts];
  for (int i = 0; i < kParts; ++i) {
    const int e = threadIdx.x + 32 * i;
    q[i] = e < d ? query[e] * scale_log2 : 0;
  }
  FloatSums<kParts> sums;
  for (int n = 0; n < reads.count(); ++n) {
    const int block = reads(n, selected);
    const float* const keys = reinterpret_cast<const float*>(place.page(a, block));
    for (int j = 0; j < kPageTokens && block * kPageTokens + j <= position; ++j) {
      float score = 0;
      for (int i = 0; i < kParts; ++i) {
        const int e = threadIdx.x + 32 * i;
        if (e < d) score = __fmaf_rn(q[i], keys[j * d + e], score);
      }
      sums.Add(WarpSum(score), keys + (kPageTokens + j) * d, d);
    }
  }
  sums.Store(d, p.partials + PartialOffset(p.batch, piece, token, head, p.max_splits, 0));
  for (int split = 1; split < p.max_splits && head % GroupOf(p.batch) == 0; ++split) {
    StoreNothing(p.batch, piece, kv_head, p.partials, p.max_splits, split);
  }
}

template <typename T, int kHeadDim>
cudaError_t Launch(const SparseAttentionParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const float scale_log2 = ScaleLog2(a);
  constexpr int kPageBytes = 2 * kTileElements<kHeadDim> * static_cast<int>(sizeof(T));
  if (params.max_splits > 1) {
    constexpr int kBytes = (kHeadDim <= 64 ? kPagesPerSplit : 2) * kPageBytes;
    static const cudaError_t allowed = AllowShared(SparseTokenKernel<T, kHeadDim>, kBytes);
    if (allowed != cudaSuccess) return allowed;
    const dim3 grid(params.max_splits, a.num_kv_heads, params.batch.num_pieces);
    SparseTokenKernel<T, kHeadDim><<<grid, 32, kBytes, stream>>>(params, scale_log2);
    return cudaGetLastError();
  }
  // Beside two pages, a bit for each block of contexts of up to a million tokens.
  constexpr int kBytes = 2 * kPageBytes + kMostBlocks / 8;
  static const cudaError_t allowed = AllowShared(SparsePieceKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const dim3 grid(params.batch.num_pieces, a.num_kv_heads);
  SparsePieceKernel<T, kHeadDim><<<grid, kThreads, kBytes, stream>>>(params, scale_log2);
  return cudaGetLastError();
}

}  // namespace

cudaError_t SparseAttention(const SparseAttentionParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  const int64_t group = a.num_heads / a.num_kv_heads;
  if (params.batch.num_pieces == 0) return cudaSuccess;
  if (!AttentionSupports(a.kv.head_dim, group)) return cudaErrorInvalidValue;
  if (a.kv.dtype == DType::kF32) {
    const dim3 grid(a.num_heads, params.batch.max_tokens, params.batch.num_pieces);
    SparseFloatKernel<8><<<grid, 32, 0, stream>>>(params, ScaleLog2(a));
    return cudaGetLastError();
  }
  return Dispatch(a, [&](auto element, auto head_dim) {
    return Launch<decltype(element), decltype(head_dim)::value>(params, stream);
  });
}

}  // namespace sieve::cuda
