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
inline constexpr int kListed = 2 * kSampleThreads;

// In shared memory.
struct SelectScratch {
  uint32_t low[kBins], high[kBins];  // halves of each bin's amount
  uint64_t list[kListed];            // the first block's is used
  int32_t listed;
  int32_t bin;
  uint64_t before;  // the amount in better bins
  uint64_t code;
};

// Logits to weights.
struct Weigher {
  float max = 0;
  float inverse_temperature = 1;

  __device__ float Weight(float logit) const { return WeightOf(logit, max, inverse_temperature); }
  __device__ uint64_t Units(float logit) const { return UnitsOf(Weight(logit)); }
};

// What is added up along the ranks.
struct CountTokens {
  __device__ uint32_t operator()(float) const { return 1; }
};
struct AddWeights {
  Weigher weigher;
  __device__ uint64_t operator()(float logit) const { return weigher.Units(logit); }
};

// Bins of equal width from the largest logit down to a floor. What is worse is in none (-1).
struct LinearBins {
  Rank floor;
  float top, per_logit;

  __device__ LinearBins(float top, float bottom, Rank floor) : floor(floor), top(top) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    per_logit = fminf((kBins - 1) / fminf(top - bottom, kLargest), kLargest);
  }
  __device__ int operator()(float logit, int32_t token) const {
    if (!floor.Keeps(logit, token)) return -1;
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const int bin =
        __float_as_int(__fmaf_rn(top - logit, per_logit, kRound)) - __float_as_int(kRound);
    return min(bin, kBins - 1);
  }
};

// Bins of equal width in rank codes, from `best` to `worst`: they tell any two tokens apart in the
// end.
struct CodeBins {
  uint64_t worst, best;
  int shift = 0;

  __device__ CodeBins(uint64_t worst, uint64_t best) : worst(worst), best(best) {
    while ((best - worst) >> shift >= kBins) ++shift;
  }
  __device__ int operator()(float logit, int32_t token) const {
    const uint64_t code = CodeOf(logit, token);
    return code < worst || code > best ? -1 : static_cast<int>((best - code) >> shift);
  }
};

// Sorts rank codes, the best first. All threads of one block.
__device__ __noinline__ void SortList(SelectScratch* scratch, int count) {
  int size = 2;
  while (size < count) size *= 2;
  uint64_t* const list = scratch->list;
  for (int i = count + threadIdx.x; i < size; i += kSampleThreads) list[i] = 0;
  for (int run = 2; run <= size; run *= 2) {
    for (int distance = run / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < size / 2; i += kSampleThreads) {
        const int a = 2 * i - (i & (distance - 1)), b = a + distance;
        const uint64_t x = list[a], y = list[b];
        if ((x < y) == ((a & run) == 0)) {
          list[a] = y;
          list[b] = x;
        }
      }
    }
  }
  __syncthreads();
}

// How much is kept: a number of tokens, or a part of all tokens' weight.
struct Goal {
  uint64_t count = 0;
  float top_p = 1;

  __device__ uint64_t Of(uint64_t total) const {
    return count > 0 ? count : TopPUnits(top_p, total);
  }
};

// Its larger functions are not inlined: the compiler would do so at every call, and take minutes.
class Selector {
 public:
  __device__ Selector(const LogitRow& row, Team* team, SelectScratch* scratch)
      : row_(row), team_(team), scratch_(scratch) {}

  // The first rank at which amount(logit), added up from the best token on, reaches the goal;
  // `floor` when it never does. Counts tokens that `floor` keeps, whose logits are from `bottom` to
  // `top`.
  template <typename Amount>
  __device__ __noinline__ Rank Find(float top, float bottom, Rank floor, Amount amount, Goal goal) {
    const LinearBins bins(top, bottom, floor);
    FillBins(bins, amount);
    uint64_t wanted;
    if (!FindBin(goal, &wanted)) return floor;
    int32_t listed = ListBin(bins, scratch_->bin);
    if (listed > kListed) listed = ListFew(BoundsOf(bins, scratch_->bin), amount, &wanted);
    return FindInList(listed, amount, wanted);
  }

  // Lists the rank codes of tokens for which keep(logit, token) in the first block, in any order;
  // returns their number, of which no more than kListed are there.
  template <typename F>
  __device__ int32_t List(F keep) {
    if (threadIdx.x == 0) scratch_->listed = 0;
    team_->Sync();
    const LogitRow row = row_;
    int32_t* const listed = team_->Of(0, &scratch_->listed);
    uint64_t* const list = team_->Of(0, scratch_->list);
    row.ForEach(false, [&](float logit, int32_t token) {
      if (!keep(logit, token)) return;
      const int32_t at = atomicAdd(listed, 1);
      if (at < kListed) list[at] = CodeOf(logit, token);
    });
    team_->Sync();
    return *listed;
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
    row.ForEach(true, [=](float logit, int32_t token) {
      const int bin = bins(logit, token);
      if (bin >= 0) Add(scratch, bin, amount(logit));
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
  __device__ void MergeBins() {
    const int part = kBins / team_->size();
    for (int i = threadIdx.x; i < part; i += kSampleThreads) {
      const int bin = team_->rank() * part + i;
      uint64_t sum = 0;
      for (int block = 0; block < team_->size(); ++block) {
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

  // Finds the bin in which the running amount reaches the target; *wanted is what of the target is
  // left for that bin. False when all bins together do not reach it.
  __device__ bool FindBin(Goal goal, uint64_t* wanted) {
    constexpr int kEach = kBins / kSampleThreads;
    uint64_t amounts[kEach], sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int bin = kEach * threadIdx.x + i;
      amounts[i] = static_cast<uint64_t>(scratch_->high[bin]) << 32 | scratch_->low[bin];
      sum += amounts[i];
    }
    uint64_t total;
    uint64_t before = team_->SumBefore(sum, &total);
    const uint64_t target = goal.Of(total);
    if (total < target) return false;
    if (before < target && before + sum >= target) {
      int i = 0;
#pragma unroll
      for (; i < kEach - 1; ++i) {
        if (before + amounts[i] >= target) break;
        before += amounts[i];
      }
      scratch_->bin = kEach * threadIdx.x + i;
      scratch_->before = before;
    }
    __syncthreads();
    *wanted = target - scratch_->before;
    return true;
  }

  template <typename Bins>
  __device__ int32_t ListBin(const Bins& bins, int bin) {
    return List([=](float logit, int32_t token) { return bins(logit, token) == bin; });
  }

  // Lists the tokens among which the goal is, when one bin of the first has too many.
  template <typename Amount>
  __device__ __noinline__ int32_t ListFew(CodeBins bins, Amount amount, uint64_t* wanted) {
    while (true) {
      FillBins(bins, amount);
      FindBin({*wanted}, wanted);
      const int32_t listed = ListBin(bins, scratch_->bin);
      if (listed <= kListed) return listed;
      bins = BoundsOf(bins, scratch_->bin);
    }
  }

  // Bins for the tokens of one bin.
  template <typename Bins>
  __device__ CodeBins BoundsOf(const Bins& bins, int bin) {
    uint64_t worst = ~uint64_t{0}, best = 0;
    const LogitRow row = row_;
    row.ForEach(true, [&](float logit, int32_t token) {
      if (bins(logit, token) != bin) return;
      const uint64_t code = CodeOf(logit, token);
      worst = min(worst, code);
      best = max(best, code);
    });
    worst = team_->Reduce(worst, [](uint64_t a, uint64_t b) { return min(a, b); });
    best = team_->Reduce(best, [](uint64_t a, uint64_t b) { return max(a, b); });
    return CodeBins(worst, best);
  }

  template <typename Amount>
  __device__ Rank FindInList(int32_t listed, Amount amount, uint64_t wanted) {
    if (team_->rank() == 0) {
      SortList(scratch_, listed);
      uint64_t amounts[2] = {};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = 2 * threadIdx.x + i;
        if (at < listed) amounts[i] = amount(RankOf(scratch_->list[at]).logit);
      }
      uint64_t total;
      const uint64_t before = team_->SumBefore(amounts[0] + amounts[1], &total);
      if (before < wanted && before + amounts[0] + amounts[1] >= wanted) {
        const uint64_t code =
            scratch_->list[2 * threadIdx.x + (before + amounts[0] >= wanted ? 0 : 1)];
        for (int block = 0; block < team_->size(); ++block) {
          team_->Of(block, scratch_)->code = code;
        }
      }
    }
    team_->Sync();
    return RankOf(scratch_->code);
  }

  const LogitRow row_;
  Team* team_;
  SelectScratch* scratch_;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SAMPLING_SELECT_CUH_
