#include "model/cuda/step_draws.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "kernels/cuda/host_copy.h"
#include "model/cuda/carver.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

using Adjustments = absl::flat_hash_map<int32_t, cuda::TokenAdjustment>;

constexpr float kBanned = -std::numeric_limits<float>::infinity();

cuda::SamplingRow RowOf(const Draw& draw) {
  const SamplingParams& params = *draw.params;
  return {.temperature = params.temperature,
          .top_k = params.top_k,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .repetition_penalty = params.repetition_penalty,
          .presence_penalty = params.presence_penalty,
          .frequency_penalty = params.frequency_penalty,
          .num_logprobs = draw.logprobs.value_or(-1),
          .seed = params.seed,
          .position = draw.position,
          .sample = draw.sample};
}

// Of each token once, as the kernel wants it. False when a bias is given twice.
bool Merge(const Draw& draw, Adjustments* merged) {
  for (const auto& [token, bias] : draw.params->logit_bias) {
    if (!merged->try_emplace(token, cuda::TokenAdjustment{.token = token, .bias = bias}).second) {
      return false;
    }
  }
  if (draw.history != nullptr && HasPenalties(*draw.params)) {
    for (const auto& [token, count] : draw.history->counts()) {
      (*merged)[token].token = token;
      (*merged)[token].count = count;
    }
  }
  for (const int32_t token : draw.banned) {
    (*merged)[token].token = token;
    (*merged)[token].bias = kBanned;
  }
  return true;
}

absl::Status StatusOf(cuda::SampleError error) {
  switch (error) {
    case cuda::SampleError::kNone:
      return absl::OkStatus();
    case cuda::SampleError::kNoTokenLeft:
      return NoTokenLeftError();
    default:
      return LogitsNotFiniteError();
  }
}

}  // namespace

int64_t DrawInput::MaxBytes(int64_t max_draws) {
  return max_draws * sizeof(cuda::SamplingRow) + kMaxAdjustments * sizeof(cuda::TokenAdjustment);
}

bool DrawInput::Build(absl::Span<const Draw> draws) {
  rows_.clear();
  adjustments_.clear();
  top_logprobs_ = 0;
  for (const Draw& draw : draws) {
    cuda::SamplingRow& row = rows_.emplace_back(RowOf(draw));
    if (row.num_logprobs > cuda::kMaxTopLogprobs) return false;
    top_logprobs_ = std::max<int64_t>(top_logprobs_, row.num_logprobs);
    row.adjustments_begin = static_cast<int32_t>(adjustments_.size());
    if (!AddAdjustments(draw)) return false;
    row.adjustments_end = static_cast<int32_t>(adjustments_.size());
  }
  const int64_t adjustments = adjustments_.size() * sizeof(cuda::TokenAdjustment);
  bytes_.resize(adjustments_offset() + adjustments);
  std::memcpy(bytes_.data(), rows_.data(), adjustments_offset());
  std::memcpy(bytes_.data() + adjustments_offset(), adjustments_.data(), adjustments);
  return true;
}

bool DrawInput::AddAdjustments(const Draw& draw) {
  Adjustments merged;
  if (!Merge(draw, &merged)) return false;
  if (adjustments_.size() + merged.size() > kMaxAdjustments) return false;
  for (const auto& [token, adjustment] : merged) adjustments_.push_back(adjustment);
  return true;
}

StepDraws::Results StepDraws::Carve(int64_t draws, int64_t tops, char* base, int64_t* bytes) {
  Carver carver(base);
  Results results;
  results.tokens = carver.Take<int32_t>(draws);
  results.errors = carver.Take<cuda::SampleError>(draws);
  results.logprobs = carver.Take<float>(draws);
  results.top_tokens = carver.Take<int32_t>(draws * tops);
  results.top_logprobs = carver.Take<float>(draws * tops);
  *bytes = carver.bytes();
  return results;
}

absl::StatusOr<StepDraws> StepDraws::Create(int64_t max_draws, int64_t vocabulary) {
  StepDraws draws;
  draws.vocabulary_ = vocabulary;
  int64_t bytes = 0;
  Carve(max_draws, cuda::kMaxTopLogprobs, nullptr, &bytes);
  absl::StatusOr<CudaMemory> device = CudaMemory::Device(bytes, "what a step draws");
  if (!device.ok()) return device.status();
  draws.device_ = *std::move(device);
  // All of it is copied to the host, also what no draw asks for.
  SIEVE_RETURN_IF_CUDA(cudaMemset(draws.device_.data(), 0, bytes), "clearing what a step draws");
  for (Slot& slot : draws.slots_) {
    absl::StatusOr<CudaMemory> host = CudaMemory::PinnedHost(bytes, "what a step draws");
    if (!host.ok()) return host.status();
    slot.host = *std::move(host);
    absl::StatusOr<CudaEvent> done = CudaEvent::Create();
    if (!done.ok()) return done.status();
    slot.done = *std::move(done);
  }
  absl::StatusOr<CudaMemory> workspace = CudaMemory::Device(
      cuda::SampleWorkspaceBytes(DrawInput::kMaxAdjustments), "drawing a step's tokens");
  if (!workspace.ok()) return workspace.status();
  draws.workspace_ = *std::move(workspace);
  return draws;
}

const int32_t* StepDraws::tokens() const {
  return reinterpret_cast<const int32_t*>(device_.data());  // the first array, whatever the shape
}

absl::Status StepDraws::Launch(const DrawInput& draws, const char* input, float* logits,
                               cudaStream_t stream) {
  Slot& slot = slots_[next_];
  slot.num_draws = draws.rows().size();
  slot.tops = draws.top_logprobs();
  slot.wanted.clear();
  for (const cuda::SamplingRow& row : draws.rows()) slot.wanted.push_back(row.num_logprobs);
  if (slot.num_draws > 0) {
    int64_t bytes = 0;
    const Results results = Carve(slot.num_draws, slot.tops, device_.data(), &bytes);
    const char* const adjustments = input + draws.adjustments_offset();
    SIEVE_RETURN_IF_CUDA(
        cuda::Sample({.logits = logits,
                      .logits_stride = vocabulary_,
                      .vocabulary = vocabulary_,
                      .num_rows = slot.num_draws,
                      .rows = reinterpret_cast<const cuda::SamplingRow*>(input),
                      .adjustments = reinterpret_cast<const cuda::TokenAdjustment*>(adjustments),
                      .workspace = workspace_.data(),
                      .tokens = results.tokens,
                      .errors = results.errors,
                      .logprobs = results.logprobs,
                      .top_tokens = results.top_tokens,
                      .top_logprobs = results.top_logprobs,
                      .top_stride = slot.tops},
                     stream),
        "drawing tokens");
    SIEVE_RETURN_IF_CUDA(cuda::CopyHost(device_.data(), slot.host.data(), bytes, stream),
                         "copying what was drawn");
  }
  SIEVE_RETURN_IF_CUDA(slot.done.Record(stream), "recording the end of a step");
  next_ = 1 - next_;
  return absl::OkStatus();
}

absl::Status StepDraws::Upload(absl::Span<const DrawnToken> drawn, cudaStream_t stream) {
  std::vector<int32_t> tokens;
  for (const DrawnToken& d : drawn) tokens.push_back(d.token);
  // From memory that is not page-locked it is copied before the call returns.
  return CudaStatus(cudaMemcpyAsync(device_.data(), tokens.data(), tokens.size() * sizeof(int32_t),
                                    cudaMemcpyHostToDevice, stream),
                    "copying the tokens drawn");
}

absl::StatusOr<std::vector<DrawnToken>> StepDraws::Collect() {
  Slot& slot = slots_[std::exchange(oldest_, 1 - oldest_)];
  SIEVE_RETURN_IF_CUDA(slot.done.Wait(), "computing a step");
  int64_t bytes = 0;
  const Results results = Carve(slot.num_draws, slot.tops, slot.host.data(), &bytes);
  std::vector<DrawnToken> drawn(slot.num_draws);
  for (int64_t i = 0; i < slot.num_draws; ++i) {
    drawn[i].status = StatusOf(results.errors[i]);
    drawn[i].token = results.tokens[i];
    if (slot.wanted[i] < 0) continue;
    drawn[i].logprobs.chosen = {results.tokens[i], results.logprobs[i]};
    for (int64_t at = i * slot.tops; at < i * slot.tops + slot.wanted[i]; ++at) {
      if (results.top_tokens[at] < 0) break;  // there are no more
      drawn[i].logprobs.top.push_back({results.top_tokens[at], results.top_logprobs[at]});
    }
  }
  return drawn;
}

}  // namespace sieve
