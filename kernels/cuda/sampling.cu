#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_row.cuh"
#include "kernels/cuda/sampling_select.cuh"
#include "kernels/cuda/sampling_team.cuh"
#include "kernels/sampling_math.h"

namespace sieve::cuda {
namespace {

static_assert(kMaxTopLogprobs <= kListed);

struct SampleScratch {
  TeamScratch team;
  SelectScratch select;
  uint64_t warp_units[kSampleWarps];
  int32_t token;
};

struct AddUnits {
  __device__ uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};

// One row's draw by the blocks of a cluster.
class RowSampler {
 public:
  __device__ RowSampler(const SampleParams& params, int64_t index, const SamplingRow& options,
                        Team* team, SampleScratch* scratch)
      : params_(params),
        index_(index),
        options_(options),
        team_(team),
        scratch_(scratch),
        row_(params.logits + index * params.logits_stride, static_cast<int32_t>(params.vocabulary),
             *team) {}

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
    const Weigher weigher = {extremes.largest, 1};
    uint64_t units = 0;
    row_.ForEach(true, [&](float logit, int32_t) { units += weigher.Units(logit); });
    return extremes.largest + LogOfUnits(team_->Reduce(units, AddUnits()));
  }

  __device__ void WriteTop(const RowExtremes& extremes, double log_sum) {
    const int32_t wanted = options_.num_logprobs;
    Selector selector(row_, team_, &scratch_->select);
    const Rank last = selector.Find(extremes.largest, extremes.smallest, Rank(), CountTokens(),
                                    Goal{static_cast<uint64_t>(wanted)});
    const int32_t found =
        selector.List([=](float logit, int32_t token) { return last.Keeps(logit, token); });
    if (team_->rank() != 0) return;
    SortList(&scratch_->select, found);
    for (int i = threadIdx.x; i < wanted; i += kSampleThreads) {
      const Rank rank = i < found ? RankOf(scratch_->select.list[i]) : Rank();
      const int64_t at = index_ * params_.top_stride + i;
      params_.top_tokens[at] = rank.token;
      params_.top_logprobs[at] = static_cast<float>(rank.logit - log_sum);
    }
  }

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
    const Rank last = LastKept(extremes, weigher);
    const float min_p = options_.min_p;
    if (last.logit == -kInfinity && min_p <= 0) {
      return Draw([=](float logit, int32_t) { return weigher.Units(logit); });
    }
    return Draw([=](float logit, int32_t token) {
      if (!last.Keeps(logit, token)) return uint64_t{0};
      const float weight = weigher.Weight(logit);
      return weight < min_p ? 0 : UnitsOf(weight);
    });
  }

  // By top-k and top-p.
  __device__ Rank LastKept(const RowExtremes& extremes, const Weigher& weigher) {
    Rank last;
    const float top = extremes.largest;
    // What is worse weighs nothing.
    constexpr float kSpan = kWeightCut + 1;
    Rank floor = {fmaxf(extremes.smallest, top - kSpan * options_.temperature), kNoToken};
    Selector selector(row_, team_, &scratch_->select);
    if (options_.top_k > 0 && options_.top_k < params_.vocabulary) {
      floor = last = selector.Find(top, floor.logit, floor, CountTokens(),
                                   Goal{static_cast<uint64_t>(options_.top_k)});
    }
    if (options_.top_p < 1) {
      last = selector.Find(top, floor.logit, floor, AddWeights{weigher}, Goal{0, options_.top_p});
    }
    return last;
  }

  // Draws a token in proportion to units(logit, token).
  template <typename Units>
  __device__ int32_t Draw(Units units) {
    uint64_t mine = 0;
    row_.ForEach(true, [&](float logit, int32_t token) { mine += units(logit, token); });
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
    const uint64_t drawn =
        DrawnUnits(UniformBitsAt(options_.seed, options_.sample, options_.position), total);
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
    for (int32_t i = first; i < last; ++i) sum += units(row_[i], i);
    const uint64_t before = team_->SumBefore(sum, &total);
    if (before <= rest && rest - before < sum) {
      rest -= before;
      int32_t token = first;
      for (uint64_t at; rest >= (at = units(row_[token], token)); ++token) rest -= at;
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
  __shared__ SampleScratch scratch;
  Team team(&scratch.team);
  const int64_t index = blockIdx.x / team.size();
  RowSampler(params, index, params.rows[index], &team, &scratch).Run();
  team.Sync();  // a block's memory stays until the others have done with it
}

// As many blocks a row as the device holds for all rows at once, each with something to do.
cudaError_t TeamBlocks(const SampleParams& params, int* blocks) {
  constexpr int64_t kBlocksPerProcessor = 2, kLeastTokens = 4096;
  int device, major, processors;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess) return error;
  *blocks = 1;
  while (major >= 9 && *blocks < kMaxTeamBlocks &&
         2 * *blocks * params.num_rows <= kBlocksPerProcessor * processors &&
         2 * *blocks * kLeastTokens <= params.vocabulary) {
    *blocks *= 2;
  }
  return cudaSuccess;
}

}  // namespace

int64_t SampleWorkspaceBytes(int64_t adjustments) { return adjustments * sizeof(float); }

cudaError_t Sample(const SampleParams& params, cudaStream_t stream) {
  if (params.vocabulary < 1 || params.vocabulary > std::numeric_limits<int32_t>::max() / 2) {
    return cudaErrorInvalidValue;
  }
  if (params.num_rows == 0) return cudaSuccess;
  int blocks;
  const cudaError_t error = TeamBlocks(params, &blocks);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(params.num_rows * blocks);
  config.blockDim = dim3(kSampleThreads);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = blocks > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, SampleKernel, params);
}

}  // namespace sieve::cuda
