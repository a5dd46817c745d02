#ifndef SIEVE_KERNELS_CUDA_SAMPLING_SELECT_CUH_
#define SIEVE_KERNELS_CUDA_SAMPLING_SELECT_CUH_

// Finds the last token that top-k or top-p keeps, without sorting the row: a histogram over the
// logits says in which bin it is, and the tokens of that bin, few as a rule, are sorted.

#include <cstdint>

#include "kernels/cuda/sampling_row.cuh"
#include "kernels/cuda/sampling_team.cuh"
#include "kernels/sampling_math.h"

namespace sieve::cuda {

inline constexpr int kBins = 2048;
inline constexpr int kListed = 1024;

// Logits to weights.
struct Weigher {
  float max = 0;
  float inverse_temperature = 1;

  __device__ float Weight(float logit) const { return WeightOf(logit, max, inverse_temperature); }
  __device__ uint64_t Units(float logit) const { return UnitsOf(Weight(logit)); }
};

// What is added up along the ranks. CountAbove: about how many tokens better than `logit` make up
// an amount, rather too many.
struct CountTokens {
  __device__ uint32_t operator()(float) const { return 1; }
  __device__ uint64_t CountAbove(float, uint64_t amount) const { return amount; }
};
struct AddWeights {
  Weigher weigher;
  __device__ uint64_t operator()(float logit) const { return weigher.Units(logit); }
  __device__ uint64_t CountAbove(float logit, uint64_t amount) const {
    return amount / (weigher.Units(logit) + 1) / 2;
  }
};

// How much is kept: a number of tokens, or a part of their weight.
struct Goal {
  uint64_t count = 0;
  float top_p = 1;

  __device__ uint64_t operator()(uint64_t total) const {
    return count > 0 ? count : TopPUnits(top_p, total);
  }
};

// What is kept: all tokens from the best to `last`. Where they are few, the first block's list
// holds the rank codes of just these, the best first, and `few` is their number; otherwise -1.
struct Kept {
  Rank last;
  int32_t few = -1;
};

// Bins of equal width from the largest logit down to `bottom`. What is worse is in none: it gets
// other numbers. They are not negative, and the worse the logit the larger.
struct LinearBins {
  float top, per_logit;

  __device__ LinearBins(float top, float bottom) : top(top) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    per_logit = fminf((kBins - 1) / fminf(top - bottom, kLargest), kLargest);
  }
  __device__ int operator()(float logit, int32_t) const {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    return __float_as_int(__fmaf_rn(top - logit, per_logit, kRound)) - __float_as_int(kRound);
  }
  // No logit of a bin is less.
  __device__ float Least(int bin) const { return top - (bin + 1) / per_logit; }
};

// Bins of equal width in rank codes, from `best` to `worst`: they tell any two tokens apart in the
// end. What is better is in bin -1.
struct CodeBins {
  uint64_t worst, best;
  int shift = 0;

  __device__ CodeBins(uint64_t worst, uint64_t best) : worst(worst), best(best) {
    while ((best - worst) >> shift >= kBins) ++shift;
  }
  __device__ int operator()(float logit, int32_t token) const {
    const uint64_t code = CodeOf(logit, token);
    return code > best ? -1 : code < worst ? kBins : static_cast<int>((best - code) >> shift);
  }
  __device__ float Least(int) const { return RankOf(worst).logit; }
};

// In shared memory.
struct SelectScratch {
  uint32_t low[kBins], high[kBins];  // halves of each bin's amount
  uint64_t list[2 * kListed];        // the first block's is used: two lists, or one
  int32_t listed[2];
  Reached reached;
  Kept kept;
};

// Sorts codes, the largest first; there is room for a power of two. All threads of one block.
__device__ __noinline__ inline void SortList(uint64_t* list, int count) {
  int size = 2;
  while (size < count) size *= 2;
  for (int i = count + threadIdx.x; i < size; i += kSampleThreads) list[i] = 0;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      for (int i = threadIdx.x; i < size / 2; i += kSampleThreads) {
        const int a = 2 * i - (i & (distance - 1)), b = a + distance;
        const uint64_t x = list[a], y = list[b];
        if ((x < y) == ((a & run) == 0)) {
          list[a] = y;
          list[b] = x;
        }
      }
      // At distances up to 32 a warp's pairs are its own 64 codes (or twice 64).
      if (distance > 32 || (distance == 1 && run >= 64)) {
        __syncthreads();
      } else {
        __syncwarp();
      }
    }
  }
  __syncthreads();
}

// Its larger functions are not inlined: the compiler would do so at every call, and take minutes.
class Selector {
 public:
  __device__ Selector(const LogitRow& row, Team* team, SelectScratch* scratch)
      : row_(row), team_(team), scratch_(scratch) {}

  // Keeps tokens until amount(logit), added up from the best on, reaches the goal, or all when it
  // never does. Looks at tokens with logits from about `bottom` to `top`, the largest. Up to
  // kListed tokens are always few.
  template <typename Amount>
  __device__ __noinline__ Kept Find(float top, float bottom, Amount amount, Goal goal) {
    const LinearBins bins(top, bottom);
    FillBins(bins, amount);
    const Reached reached = ReachInBins(goal);
    Kept kept;
    if (reached.at >= 0) {
      const float edge = top - reached.at / bins.per_logit;
      const bool few = amount.CountAbove(edge, reached.before) <= kListed;
      ListBin(bins, reached.at, few);
      const int32_t listed = Listed(0), better = few ? Listed(1) : kListed + 1;
      kept = listed <= kListed ? FindInList(listed, better, amount, reached.rest)
                               : FindAmong(BoundsOf(bins, reached.at), amount, {reached.rest});
    }
    if (kept.few < 0 && goal.count > 0 && goal.count <= kListed) {
      kept.few = ListKept(kept.last, bottom);
    }
    return kept;
  }

  // Find among the tokens of some bins; these are not listed. REQUIRES: the goal is reached.
  template <typename Amount>
  __device__ __noinline__ Kept FindAmong(CodeBins bins, Amount amount, Goal goal) {
    while (true) {
      FillBins(bins, amount);
      const Reached reached = ReachInBins(goal);
      ListBin(bins, reached.at, false);
      const int32_t listed = Listed(0);
      if (listed <= kListed) return FindInList(listed, kListed + 1, amount, reached.rest);
      bins = BoundsOf(bins, reached.at);
      goal = {reached.rest};
    }
  }

  // Of the first block's list, which holds `few` rank codes, the best first: how many top-p keeps.
  __device__ int32_t CutList(int32_t few, Weigher weigher, float top_p) {
    const uint64_t* const list = scratch_->list;
    const auto units = [=](int i) {
      return i < few ? weigher.Units(RankOf(list[i]).logit) : uint64_t{0};
    };
    return team_->FirstToReach(units, Goal{0, top_p}, &scratch_->reached).at + 1;
  }

 private:
  template <typename Bins, typename Amount>
  __device__ void FillBins(const Bins& bins, Amount amount) {
    SelectScratch* const scratch = scratch_;
    for (int i = threadIdx.x; i < kBins; i += kSampleThreads) {
      scratch->low[i] = 0;
      scratch->high[i] = 0;
    }
    __syncthreads();
    const LogitRow row = row_;
    row.ForEach4(true, [=](const float4& v, int32_t token) {
      const auto add = [=](float logit, int32_t token) {
        const unsigned bin = bins(logit, token);
        if (bin < kBins) Add(scratch, bin, amount(logit));
      };
      add(v.x, token);
      add(v.y, token + 1);
      add(v.z, token + 2);
      add(v.w, token + 3);
    });
    team_->Sync();
    if (team_->size() > 1) MergeBins();
  }

  __device__ static void Add(SelectScratch* scratch, int bin, uint32_t amount) {
    atomicAdd(&scratch->low[bin], amount);
  }

  // Two halves: shared memory has no 64-bit atomic addition.
  __device__ static void Add(SelectScratch* scratch, int bin, uint64_t amount) {
    const uint32_t low = static_cast<uint32_t>(amount);
    uint32_t high = static_cast<uint32_t>(amount >> 32);
    if (low != 0) high += atomicAdd(&scratch->low[bin], low) > ~low ? 1 : 0;
    if (high != 0) atomicAdd(&scratch->high[bin], high);
  }

  // Each block adds up a part of all blocks' bins and hands it to all.
  __device__ __noinline__ void MergeBins() {
    const int part = kBins / team_->size();
    for (int i = threadIdx.x; i < part; i += kSampleThreads) {
      const int bin = team_->rank() * part + i;
      uint64_t sum = 0;
#pragma unroll
      for (int block = 0; block < kMaxTeamBlocks; ++block) {
        if (block >= team_->size()) continue;
        const SelectScratch* const other = team_->Of(block, scratch_);
        sum += static_cast<uint64_t>(other->high[bin]) << 32 | other->low[bin];
      }
      for (int block = 0; block < team_->size(); ++block) {
        SelectScratch* const other = team_->Of(block, scratch_);
        other->low[bin] = static_cast<uint32_t>(sum);
        other->high[bin] = static_cast<uint32_t>(sum >> 32);
      }
    }
    team_->Sync();
  }

  __device__ __noinline__ Reached ReachInBins(Goal goal) {
    const SelectScratch* const scratch = scratch_;
    const auto amount = [=](int i) {
      return static_cast<uint64_t>(scratch->high[i]) << 32 | scratch->low[i];
    };
    return team_->FirstToReach(amount, goal, &scratch_->reached);
  }

  // The first block lists rank codes in any order: in list `side(logit, token)`, 0 or 1, those for
  // which it is not negative, which no logit below `least` is. No more than kListed of each are
  // there.
  template <typename F>
  __device__ void List(float least, F side) {
    if (threadIdx.x < 2) scratch_->listed[threadIdx.x] = 0;
    team_->Sync();
    const LogitRow row = row_;
    SelectScratch* const first = team_->Of(0, scratch_);
    row.ForEach4(false, [=](const float4& v, int32_t token) {
      if (Largest(v) < least) return;
      const float logits[] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int to = side(logits[i], token + i);
        if (to < 0) continue;
        const int32_t at = atomicAdd(&first->listed[to], 1);
        if (at < kListed) first->list[to * kListed + at] = CodeOf(logits[i], token + i);
      }
    });
    team_->Sync();
  }

  // How many tokens belong in a list.
  __device__ int32_t Listed(int side) const { return team_->Of(0, scratch_)->listed[side]; }

  // The tokens of a bin and, maybe, those of better ones.
  template <typename Bins>
  __device__ __noinline__ void ListBin(const Bins& bins, int bin, bool better) {
    List(bins.Least(bin), [=](float logit, int32_t token) {
      const int at = bins(logit, token);
      return at == bin ? 0 : at < bin && better ? 1 : -1;
    });
  }

  // REQUIRES: no more than kListed are kept, of logits from `bottom` on.
  __device__ __noinline__ int32_t ListKept(Rank last, float bottom) {
    List(fmaxf(bottom, last.logit), [=](float logit, int32_t token) {
      return logit >= bottom && last.Keeps(logit, token) ? 0 : -1;
    });
    const int32_t listed = Listed(0);
    if (team_->rank() == 0) SortList(scratch_->list, listed);
    return listed;
  }

  // Bins for the tokens of one bin.
  template <typename Bins>
  __device__ __noinline__ CodeBins BoundsOf(const Bins& bins, int bin) {
    uint64_t worst = ~uint64_t{0}, best = 0;
    const LogitRow row = row_;
    row.ForEach4(true, [&](const float4& v, int32_t token) {
      const auto take = [&](float logit, int32_t token) {
        if (bins(logit, token) != bin) return;
        const uint64_t code = CodeOf(logit, token);
        worst = min(worst, code);
        best = max(best, code);
      };
      take(v.x, token);
      take(v.y, token + 1);
      take(v.z, token + 2);
      take(v.w, token + 3);
    });
    worst = team_->Reduce(worst, [](uint64_t a, uint64_t b) { return min(a, b); });
    best = team_->Reduce(best, [](uint64_t a, uint64_t b) { return max(a, b); });
    return CodeBins(worst, best);
  }

  // Finds the last token in the first list, where `rest` is reached; the second has `better` ones.
  template <typename Amount>
  __device__ Kept FindInList(int32_t listed, int32_t better, Amount amount, uint64_t rest) {
    if (team_->rank() == 0) {
      uint64_t* const list = scratch_->list;
      SortList(list, listed);
      const auto amount_at = [=](int i) {
        return i < listed ? uint64_t{amount(RankOf(list[i]).logit)} : uint64_t{0};
      };
      const auto target = [=](uint64_t) { return rest; };
      const int32_t at = team_->FirstToReach(amount_at, target, &scratch_->reached).at;
      const Kept kept = {RankOf(list[at]), better <= kListed ? at + 1 + better : -1};
      if (threadIdx.x < team_->size()) team_->Of(threadIdx.x, scratch_)->kept = kept;
      if (kept.few >= 0) JoinLists(at + 1, better);
    }
    team_->Sync();
    return scratch_->kept;
  }

  // Makes one list, sorted, of the beginnings of the two.
  __device__ __noinline__ void JoinLists(int32_t listed, int32_t better) {
    constexpr int kEach = kListed / kSampleThreads;
    uint64_t codes[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      codes[i] = scratch_->list[kListed + i * kSampleThreads + threadIdx.x];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int32_t at = i * kSampleThreads + threadIdx.x;
      if (at < better) scratch_->list[listed + at] = codes[i];
    }
    __syncthreads();
    SortList(scratch_->list, listed + better);
  }

  const LogitRow row_;
  Team* team_;
  SelectScratch* scratch_;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SAMPLING_SELECT_CUH_
