#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_row.cuh"
#include "kernels/cuda/sampling_select.cuh"
#include "kernels/cuda/sampling_team.cuh"
#include "kernels/cuda/this_chip.h"
#include "kernels/sampling_math.h"

namespace sieve::cuda {
namespace {

static_assert(kMaxTopLogprobs <= kListed);

struct SampleScratch {
  TeamScratch team;
  SelectScratch select;
  LogitRing ring;
  SamplingRow options;
  uint64_t warp_units[kSampleWarps];
  int32_t token;
};

// The units of tokens, one by one or four together: of all,
struct WeighAll {
  Weigher weigher;

  __device__ uint64_t Units(float logit, int32_t) const { return weigher.Units(logit); }
  __device__ uint64_t Units4(const float4& v, int32_t) const {
    return weigher.Units(v.x) + weigher.Units(v.y) + weigher.Units(v.z) + weigher.Units(v.w);
  }
};

// and of those from a rank on that weigh `min_p`, which no logit below `least` does.
struct WeighKept {
  Weigher weigher;
  Rank last;
  float least, min_p;

  __device__ uint64_t Units(float logit, int32_t token) const {
    if (!last.Keeps(logit, token)) return 0;
    const float weight = weigher.Weight(logit);
    return weight < min_p ? 0 : UnitsOf(weight);
  }
  __device__ uint64_t Units4(const float4& v, int32_t token) const {
    if (Largest(v) < least) return 0;
    return Units(v.x, token) + Units(v.y, token + 1) + Units(v.z, token + 2) +
           Units(v.w, token + 3);
  }
};

struct AddUnits {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};

// One row's draw by the blocks of a cluster.
class RowSampler {
 public:
  __device__ RowSampler(const SampleParams& params, int64_t index, Team* team,
                        SampleScratch* scratch)
      : params_(params),
        index_(index),
        options_(scratch->options),
        team_(team),
        scratch_(scratch),
        row_(params.logits + index * params.logits_stride, static_cast<int32_t>(params.vocabulary),
             *team, &scratch->ring) {}

  __device__ void Run() {
    RowExtremes extremes = Extremes(row_, team_);
    if (isnan(extremes.not_finite)) return Fail(SampleError::kNotFinite);
    const bool logprobs = options_.num_logprobs >= 0;
    const double log_sum = logprobs ? LogSum(extremes) : 0;
    if (options_.num_logprobs > 0) WriteTop(extremes, log_sum);
    const bool adjusted = options_.adjustments_begin < options_.adjustments_end;
    if (adjusted) {
      Adjust();
      extremes = Extremes(row_, team_);
    }
    const bool any = extremes.token != kNoToken;
    const int32_t token = any ? Pick(extremes) : kNoToken;
    if (adjusted) Restore();
    if (!any) return Fail(SampleError::kNoTokenLeft);
    if (token == kNoToken || threadIdx.x != 0) return;
    params_.tokens[index_] = token;
    params_.errors[index_] = SampleError::kNone;
    if (logprobs) params_.logprobs[index_] = static_cast<float>(row_[token] - log_sum);
  }

 private:
  __device__ void Fail(SampleError error) const {
    if (team_->rank() != 0 || threadIdx.x != 0) return;
    params_.tokens[index_] = 0;
    params_.errors[index_] = error;
  }

  // The logarithm of the sum of exp(logit).
  __device__ double LogSum(const RowExtremes& extremes) {
    const WeighAll weigher = {{extremes.largest, 1}};
    uint64_t units = 0;
    row_.ForEach4(true, [&](const float4& v, int32_t) { units += weigher.Units4(v, 0); });
    return extremes.largest + LogOfUnits(team_->Reduce(units, AddUnits()));
  }

  __device__ void WriteTop(const RowExtremes& extremes, double log_sum) {
    const int32_t wanted = options_.num_logprobs;
    const Kept kept = Select().Find(extremes.largest, extremes.smallest, CountTokens(),
                                    Goal{static_cast<uint64_t>(wanted)});
    if (team_->rank() != 0) return;
    for (int i = threadIdx.x; i < wanted; i += kSampleThreads) {
      const Rank rank = i < kept.few ? RankOf(scratch_->select.list[i]) : Rank();
      const int64_t at = index_ * params_.top_stride + i;
      params_.top_tokens[at] = rank.token;
      params_.top_logprobs[at] = static_cast<float>(rank.logit - log_sum);
    }
  }

  __device__ Selector Select() const { return Selector(row_, team_, &scratch_->select); }

  // Each block changes, and restores, the logits of its own part.
  __device__ void Adjust() {
    const Penalties penalties = {options_.repetition_penalty, options_.presence_penalty,
                                 options_.frequency_penalty};
    float* const saved = static_cast<float*>(params_.workspace);
    ForEachAdjustment([&](int32_t i, const TokenAdjustment& adjustment) {
      float logit = row_[adjustment.token];
      saved[i] = logit;
      logit = adjustment.bias == -kInfinity ? -kInfinity : BiasedLogit(logit, adjustment.bias);
      if (adjustment.count >= 0 && logit != -kInfinity) {
        logit = PenalisedLogit(logit, adjustment.count, penalties);
      }
      row_.Set(adjustment.token, logit);
    });
  }

  __device__ void Restore() {
    const float* const saved = static_cast<float*>(params_.workspace);
    ForEachAdjustment([&](int32_t i, const TokenAdjustment& adjustment) {
      row_.Set(adjustment.token, saved[i]);
    });
  }

  template <typename F>
  __device__ void ForEachAdjustment(F visit) {
    __syncthreads();
    for (int32_t i = options_.adjustments_begin + threadIdx.x; i < options_.adjustments_end;
         i += kSampleThreads) {
      const TokenAdjustment adjustment = params_.adjustments[i];
      if (row_.Owns(adjustment.token)) visit(i, adjustment);
    }
    __syncthreads();
  }

  // The token, in the block that owns it; kNoToken in the others.
  __device__ int32_t Pick(const RowExtremes& extremes) {
    if (options_.temperature <= 0 || options_.top_k == 1) {
      return row_.Owns(extremes.token) ? extremes.token : kNoToken;
    }
    const Weigher weigher = {extremes.largest, InverseTemperature(options_.temperature)};
    const Kept kept = Keep(extremes, weigher);
    if (kept.few >= 0) return DrawFromList(kept.few, weigher);
    const float min_p = options_.min_p;
    if (kept.last.logit == -kInfinity && min_p <= 0) return Draw(WeighAll{weigher});
    // Of less than this no token has weight enough. The margin is for rounding.
    const float least = extremes.largest + (logf(min_p) - 0.01f) / weigher.inverse_temperature;
    return Draw(WeighKept{weigher, kept.last, fmaxf(least, kept.last.logit), min_p});
  }

  // By top-k and top-p. In the first block `few` is what is kept, in others it may be more.
  __device__ Kept Keep(const RowExtremes& extremes, const Weigher& weigher) {
    constexpr float kSpan = kWeightCut + 1;  // what is worse weighs nothing
    const float top = extremes.largest;
    const float bottom = fmaxf(extremes.smallest, top - kSpan / weigher.inverse_temperature);
    const Goal top_k = {static_cast<uint64_t>(options_.top_k)}, top_p = {0, options_.top_p};
    Kept kept;
    if (top_k.count > 0 && top_k.count < params_.vocabulary) {
      kept = Select().Find(top, bottom, CountTokens(), top_k);
    }
    if (top_p.top_p >= 1) return kept;
    if (kept.few >= 0) {
      if (team_->rank() == 0) kept.few = Select().CutList(kept.few, weigher, top_p.top_p);
      return kept;
    }
    const AddWeights weights = {weigher};
    if (kept.last.logit == -kInfinity) return Select().Find(top, bottom, weights, top_p);
    const CodeBins bins(CodeOf(kept.last.logit, kept.last.token), CodeOf(top, 0));
    return Select().FindAmong(bins, weights, top_p);
  }

  // Draws from `few` tokens in the first block's list, in order of ids.
  __device__ int32_t DrawFromList(int32_t few, const Weigher& weigher) {
    if (team_->rank() == 0) {
      uint64_t* const list = scratch_->select.list;
      __syncthreads();
      for (int i = threadIdx.x; i < few; i += kSampleThreads) {
        const Rank rank = RankOf(list[i]);
        list[i] =
            static_cast<uint64_t>(~rank.token) << 32 | __float_as_uint(weigher.Weight(rank.logit));
      }
      SortList(list, few);
      const float min_p = options_.min_p;
      const auto units = [=](int i) {
        const float weight = i < few ? __uint_as_float(static_cast<uint32_t>(list[i])) : 0;
        return weight < min_p ? 0 : UnitsOf(weight);
      };
      const auto target = [=, this](uint64_t total) { return DrawnUnits(Uniform(), total) + 1; };
      const int32_t at = team_->FirstToReach(units, target, &scratch_->select.reached).at;
      const int32_t token = ~static_cast<int32_t>(list[at] >> 32);
      if (threadIdx.x < team_->size()) team_->Of(threadIdx.x, scratch_)->token = token;
    }
    team_->Sync();
    return row_.Owns(scratch_->token) ? scratch_->token : kNoToken;
  }

  __device__ uint64_t Uniform() const {
    return UniformBitsAt(options_.seed, options_.sample, options_.position);
  }

  // Draws a token in proportion to units.Units(logit, token).
  template <typename Units>
  __device__ int32_t Draw(Units units) {
    uint64_t mine = 0;
    row_.ForEach4(true, [&](const float4& v, int32_t token) { mine += units.Units4(v, token); });
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) mine += ShuffleXor(mine, offset);
    if (threadIdx.x % 32 == 0) scratch_->warp_units[threadIdx.x / 32] = mine;
    const uint64_t* const blocks =
        team_->ReduceBlocks(threadIdx.x % 32 == 0 ? mine : uint64_t{0}, AddUnits());
    uint64_t total = 0, before = 0;
    for (int i = 0; i < team_->size(); ++i) {
      if (i == team_->rank()) before = total;
      total += blocks[i];
    }
    const uint64_t drawn = DrawnUnits(Uniform(), total);
    if (drawn < before || drawn - before >= blocks[team_->rank()]) return kNoToken;
    return FindInBlock(units, drawn - before);
  }

  // The token of this block at which the running sum of units exceeds `rest`.
  template <typename Units>
  __device__ int32_t FindInBlock(Units units, uint64_t rest) {
    int warp = 0;
    for (; rest >= scratch_->warp_units[warp]; ++warp) rest -= scratch_->warp_units[warp];
    const int32_t begin = row_.Begin(warp), end = row_.Begin(warp + 1);
    const int32_t each = (end - begin + kSampleThreads - 1) / kSampleThreads;
    const int32_t first = min(begin + each * static_cast<int32_t>(threadIdx.x), end);
    const int32_t last = min(first + each, end);
    uint64_t sum = 0, total;
#pragma unroll 4
    for (int32_t i = first; i < last; ++i) sum += units.Units(row_[i], i);
    const uint64_t before = team_->SumBefore(sum, &total);
    if (before <= rest && rest - before < sum) {
      rest -= before;
      int32_t token = first;
      for (uint64_t at; rest >= (at = units.Units(row_[token], token)); ++token) rest -= at;
      scratch_->token = token;
    }
    __syncthreads();
    return scratch_->token;
  }

  const SampleParams& params_;
  const int64_t index_;
  const SamplingRow& options_;
  Team* const team_;
  SampleScratch* const scratch_;
  const LogitRow row_;
};

__global__ __launch_bounds__(kSampleThreads,
                             2) void SampleKernel(const __grid_constant__ SampleParams params) {
  extern __shared__ __align__(16) char memory[];
  SampleScratch* const scratch = reinterpret_cast<SampleScratch*>(memory);
  const int64_t index = blockIdx.x / Team::Blocks();
  constexpr int kWords = sizeof(SamplingRow) / 4;
  if (threadIdx.x < kWords) {
    reinterpret_cast<uint32_t*>(&scratch->options)[threadIdx.x] =
        reinterpret_cast<const uint32_t*>(params.rows + index)[threadIdx.x];
  }
  Team team(&scratch->team);
  RowSampler(params, index, &team, scratch).Run();
  team.Sync();  // a block's memory stays until the others have done with it
}

// As many blocks a row as the device holds for all rows at once, each with something to do.
int TeamBlocks(const SampleParams& params) {
  constexpr int64_t kBlocksPerProcessor = 2, kLeastTokens = 4096;
  const Chip& chip = ThisChip();
  int blocks = 1;
  while (chip.major >= 9 && blocks < kMaxTeamBlocks &&
         2 * blocks * params.num_rows <=
             (blocks < 4 ? kBlocksPerProcessor : 1) * chip.multiprocessors &&
         2 * blocks * kLeastTokens <= params.vocabulary) {
    blocks *= 2;
  }
  return blocks;
}

// Of the kernel, once.
cudaError_t AllowShared() {
  const cudaError_t error = cudaFuncSetAttribute(
      SampleKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(SampleScratch));
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(SampleKernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                              cudaSharedmemCarveoutMaxShared);
}

}  // namespace

int64_t SampleWorkspaceBytes(int64_t adjustments) { return adjustments * sizeof(float); }

cudaError_t Sample(const SampleParams& params, cudaStream_t stream) {
  if (params.vocabulary < 1 || params.vocabulary > std::numeric_limits<int32_t>::max() / 2) {
    return cudaErrorInvalidValue;
  }
  if (params.num_rows == 0) return cudaSuccess;
  static const cudaError_t allowed = AllowShared();
  if (allowed != cudaSuccess) return allowed;
  const int blocks = TeamBlocks(params);
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(params.num_rows * blocks);
  config.blockDim = dim3(kSampleThreads);
  config.dynamicSmemBytes = sizeof(SampleScratch);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = blocks > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, SampleKernel, params);
}

}  // namespace sieve::cuda
